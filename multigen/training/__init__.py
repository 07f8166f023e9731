"""Training: tasks and their losses, the loop, checkpoints, the log, several devices."""
