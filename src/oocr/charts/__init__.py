"""Figures from data: a table goes into a builder, a panel comes out, for any task.

The builders are `lines`, `bars`, `heat` and `dots`; `figure.figure_of` makes the `figure.Figure`,
whose data are written as Parquet beside the page. A legend entry (`figure.LegendEntry`) hides the
traces that have its key; `arms.Arm` knows how an arm is called and looks. Builders escape the text
of tables; only the notes of `strip_panel` and the `hover` of `heat_panel` are markup, made with
`pieces.hover_box` and `pieces.text`.
"""
