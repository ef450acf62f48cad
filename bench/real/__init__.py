"""Federations of real processes for the benches: their files, their processes, and what the logs show to whom."""
