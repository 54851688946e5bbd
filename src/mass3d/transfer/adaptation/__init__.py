"""A task adapted to a cohort: a small network learns the task's own answers on unlabelled scans."""
