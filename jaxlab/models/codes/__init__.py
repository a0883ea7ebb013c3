"""Networks that turn images into codes and back, and priors that generate the codes.

`autoencoder` (what both share: `tokens`, `from_tokens`), `vqvae` and `vqgan`, of
`vqgan_parts`; `patch_gan`, a critic of patches; `make` makes them of plain fields.

Of priors, `code_gpt` goes from the first code to the last, `maskgit` fills in many at a
time; each has a file of samplers, and `make_prior` makes both of plain fields.
"""
