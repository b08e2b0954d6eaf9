"""A finished run for experiment trackers: what they hold of it, and how it is written for them."""
