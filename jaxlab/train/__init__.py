"""Training of any network; knows none of them.

In reading order: `state`, `optim`, `step` (one supervised update), `engine` (the
devices of a run, for which it compiles a step), `evaluate`, `loop` (runs the steps),
`launch` (the command line of an experiment) and `comparison` (several runs side by
side). The folder of a run is in `jaxlab.runs`.

Generators: `adversarial` (k steps of a critic and one of the generator in one update),
`adversarial_recipes` (losses, penalties and optimisers by a method's name).
"""
