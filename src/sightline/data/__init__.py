"""Samples: the manifest, its splits, checks, pixels and batches."""
