"""Pairs of a generator and a critic; `make` finds them by name.

`dense` (MLP, maxout, points), `conv` (DCGAN, WGAN's CNN, SNGAN) and `resnet` (those of
WGAN-GP and SNGAN), of the `parts` that they share.
"""
