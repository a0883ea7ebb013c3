"""What everything else stands on; knows no network and no data.

In reading order: `typing` (shapes and axis letters), `errors`, `model` (the pair of
pure functions), `mesh` (devices and shardings), `batch` (rows that a step takes out of
arrays on the device), `pytree`, `precision`, `config` (checks of configurations).
Processes: `compilation` (the cache of programs), `native` (kernels in C++),
`host_memory`, `distributed`, `progress` (what a person sees of long work).
"""
