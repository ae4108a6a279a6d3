"""The commands, one file for each group of them; whatever is heavy is imported inside."""
