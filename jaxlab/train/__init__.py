"""Training of any network; knows none of them.

In reading order: `state`, `optim`, `step` (one supervised update), `engine` (compile it
for a mesh), `evaluate`, `loop` (run the steps), `interrupts`, `progress`, `run_folder`,
`checkpoint`, `plots`, `launch` (the command line of an experiment).

Generators: `adversarial` (k steps of a critic and one of the generator in one update),
`critic_report` (the critic beside the exact distance), `sample_scores` (FID and others
by named features, from `image_features` of a `classifier`), `mode_coverage`, `parzen`;
together in `image_report` and `point_report`. Transport: `two_sample_report`.
"""
