"""Quantisers: each vector of a latent picture becomes one of finitely many codes.

One interface for all of them: `quantizer(latents, train=)` gives a `Quantized`,
`quantizer.lookup(indices)` the codes again, and `quantizer.num_codes` says how many
there are. `make` (by name) over `vq` (a codebook that learns by gradient), `ema` (by
moving averages; of unit vectors: cosine), `simvq` (a linear layer over fixed vectors),
`fsq` (rounded channels) and `lfq` (signs of channels).

They stand on `table` (what all quantisers with a table of codes share), `nearest`
(search), `revival` (codes from data, and dead ones again), `estimators` (gradients past
the choice), `entropy`, `projection`, and `quantized` (the result).

A codebook that reads data (`start`, `revive_below`, averages) lies in the collection
`CODEBOOK`, the `model_state` of `from_linen`. Its statistics are those of the whole
batch: mark the loss with `jaxlab.train.step.whole_batch`.
"""
