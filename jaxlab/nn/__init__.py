"""Building blocks of networks, with no task in mind.

In reading order: `activation`, `norm`, `embed` (patches and positions), `attention`,
`blocks` (MLP, stochastic depth, pre-norm encoder block) and `stack` (many of a block:
loop, scan, rematerialise).
"""
