"""Training of any network; knows none of them.

In reading order: `state`, `optim`, `step` (one supervised update), `engine` (compile it
for a mesh), `evaluate`, `loop` (run the steps), `interrupts`, `progress`, `run_folder`,
`checkpoint`, `plots`, `launch` (the command line of an experiment).
"""
