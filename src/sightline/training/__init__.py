"""The trainer, its observers, checkpoints, and the machine it runs on."""
