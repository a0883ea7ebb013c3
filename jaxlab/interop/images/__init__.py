"""Weights of networks of images: `vit`, `inception`."""
