"""Weights of networks of images: `vit`, `inception`, `vqgan`, `patch_gan`."""
