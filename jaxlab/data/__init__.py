"""Data: NumPy in, batches out; batch t is a function of (seed, t).

In reading order: `order` (which rows make batch t), `batches` (kept on the device, or
streamed by worker processes), `images` (what an image set is, and finding one by name),
its sources `local_images`, `archives` and `tfds_images`, and `augment` (inside the
jitted step). Tables: `columns` (delimited text, typed), `table_sources`, `tabular`
(what a table is, and finding one by name). Texts: `text_tasks` (made on the fly),
`text_sources`, `text` (what a text set is, and finding one by name), `vocabulary`,
`sequences` (padded ids, windows), `buckets` (batches of like lengths), and, ready to
train on, `translation` and `text_windows`. Generators: `critic_order` (how many batches
a critic gets at a time), `toy` (points in the plane) and `two_samples` (to compare).
"""
