"""Training of any network; knows none of them.

In reading order: `state`, `optim`, `step` (one supervised update), `engine` (compiles
it for a mesh), `evaluate`, `loop` (runs the steps), `interrupts`, `run_folder`,
`checkpoint`, `launch` (the command line of an experiment), `comparison` (several runs
side by side) and `printed_table` (numbers as text).

Generators: `adversarial` (k steps of a critic and one of the generator in one update),
`adversarial_recipes` (losses, penalties and optimisers by a method's name).
"""
