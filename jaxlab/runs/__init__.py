"""What a run leaves on disk: nothing lost, nothing half written, nothing mixed up.

In reading order: `run_options` (the flags of every run), `run_folder` and what lies in
it (`claimed_folder`, `run_files`, `events` of TensorBoard, `checkpoint` and its
`checksums`), `load_params`; `interrupts` and `quiet` say what ends a run and what it
tells.
"""
