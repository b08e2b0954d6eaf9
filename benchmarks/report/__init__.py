"""What the rows of `training` say: bars, the table in a terminal, figure, docs/benchmarks.md."""
