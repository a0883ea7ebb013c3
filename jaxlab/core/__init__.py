"""What everything else stands on; knows no network and no data.

In reading order: `typing` (shapes and axis letters), `errors`, `model` (the pair of
pure functions), `mesh` (devices and shardings), `pytree`, `compilation` (the cache).
"""
