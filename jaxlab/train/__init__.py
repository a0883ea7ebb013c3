"""Training of any network; knows none of them.

In reading order: `state`, `optim`, `step` (one supervised update), `engine` (the
devices of a run, for which it compiles a step), `evaluate`, `loop` (runs the steps),
`interrupts`, `run_options`, `run_folder` and what lies in it (`run_files`, `events` of
TensorBoard, `checkpoint` and its `checksums`), `load_params`, `launch` (the command
line of an experiment) and `comparison` (several runs side by side).

Generators: `adversarial` (k steps of a critic and one of the generator in one update),
`adversarial_recipes` (losses, penalties and optimisers by a method's name).
"""
