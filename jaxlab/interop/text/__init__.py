"""Weights of networks of texts: `marian`, `bert`, `gpt2`, `llama`."""
