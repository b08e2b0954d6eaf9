"""docs/results.md: what holds at which size, from small kept files of runs."""
