"""Losses, one in each file; all compute in float32 and return the mean over the batch."""
