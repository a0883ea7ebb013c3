"""Weights of other libraries, to and from ours; nothing here needs those libraries.

In reading order: `table` (key tables and their checks) and `hf_vit` (ViT of Hugging
Face transformers).
"""
