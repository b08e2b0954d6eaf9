"""Figures from data: a table goes into a builder, a panel comes out; no builder knows a task.

    rows.dot_panel         named rows down the page, scores with intervals per arm beside each other
    rows.strip_panel       named rows, a cloud of points per series, with its centre
    panels.lines_panel     lines over numbers, with intervals as bars or ribbons (`line_of`: a line
                           from a table, `lines_by`: one per value of a column)
    panels.bars_panel      horizontal bars per name, in groups
    panels.histogram_panel upright bars over numbers
    panels.heat_panel      a heat map (`grid_of`: its cells from a table)

`panels.figure_of(name, caption, panels, data, keys)` makes the `figure.Figure`; `data` is written
as Parquet beside the page. A legend entry (`figure.Key`) hides the traces that have its key.
`arms.Arm` knows how each arm is called and looks.
Text in a table is escaped by the builders; only notes for hovering in `strip_panel` and `hover` of
`heat_panel` are markup, made with `figure.hover_box` and `figure.text`.
"""
