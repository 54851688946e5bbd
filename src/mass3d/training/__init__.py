"""How training runs: loop, optimisers, schedule, averages, checkpoints, processes."""
