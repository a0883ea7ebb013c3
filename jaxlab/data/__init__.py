"""Data: NumPy in, batches out; batch t is a function of (seed, t).

In reading order: `order` (which rows make batch t), `batches` (kept on the device, or
streamed by worker processes), `images` (what an image set is, and finding one by name),
its sources `local_images`, `archives` and `tfds_images`, and `augment` (inside the
jitted step). Tables: `columns` (delimited text, typed), `table_sources`, `tabular`
(what a table is, and finding one by name).
"""
