"""Running cases: faults, processes, clusters, memory, progress and the summary at the end."""
