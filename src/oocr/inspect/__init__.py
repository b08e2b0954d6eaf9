"""Inspect AI: oocr models as a provider, a run's questions as tasks, finished runs as logs."""
