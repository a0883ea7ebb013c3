"""Networks, one paper a file; they know no optimiser.

`vit`: Vision Transformer.
"""
