"""Metrics: pure functions from arrays to numbers, each with a reference it was checked against."""
