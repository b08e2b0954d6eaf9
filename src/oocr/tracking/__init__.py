"""A finished run for experiment trackers: the tracked values, and how they are written."""
