"""Building blocks of networks, with no task in mind.

In reading order: `activation`, `norm`, `batch_norm`, `conv` (over `conv_bilinear`),
`spectral` (kernels over their largest singular value), `embed` (patches and positions
of images), `positions` and `tokens` (of sequences), `attention`, `blocks` (MLP,
stochastic depth, the block of all Transformers), `stack` (many of a block: loop, scan,
rematerialise) and `recurrent` (LSTM, GRU).
"""
