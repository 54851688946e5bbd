"""How training and inference run: loop, schedule, averages, checkpoints, sliding windows."""
