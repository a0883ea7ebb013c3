"""Building blocks of networks, with no task in mind.

In reading order: `activation`, `dropout`, `norm`, `batch_norm`, `conv/`, `spectral`
(kernels over their largest singular value), `embed` (patches and positions of images),
`positions` and `tokens` (of sequences), `attention`, `blocks` (MLP, stochastic depth,
the block of all Transformers), `stack` (many of a block: loop, scan, rematerialise),
`image_tokens` (patches, positions and pools of images),
`recurrent` (LSTM, GRU; `recurrent_kernels` holds their derivative rules),
`quantizers/` (latents to codes) and `sensitivity` (how far back an output looks).
"""
