"""What everything else stands on; knows no network and no data.

In reading order: `typing` (shapes and axis letters), `errors`, `model` (the pair of
pure functions), `mesh` (devices and shardings), `batch` (rows that a step takes out of
arrays on the device), `pytree`, `precision`, `recorded` (a network beside what it was
made of). Processes: `compilation` (the cache of programs), `native` (kernels in C++),
`host_memory`, `distributed`, `progress` and `printed_table` (what a person sees);
`files` (whole or not there).
"""
