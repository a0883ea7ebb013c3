"""Networks that turn images into codes and back, and their critic.

`autoencoder` (what both share: `tokens`, `from_tokens`), `vqvae` and `vqgan`, of
`vqgan_parts`; `patch_gan`, a critic of patches; `make` makes them of plain fields.
"""
