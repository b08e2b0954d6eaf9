"""Processes that do a run's jobs: how many fit into memory, and which takes what."""
