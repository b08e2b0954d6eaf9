"""Speed, memory and pages of figures. Files are commands (`python -m benchmarks.NAME`).

`python -m benchmarks` measures training beside what people use (`training`, then `report`).
`python -m benchmarks.sizes` writes docs/results.md, `python -m benchmarks.organism`
docs/organism.md; `machine` says on what was measured.
"""
