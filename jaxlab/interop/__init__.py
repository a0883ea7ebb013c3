"""Weights of other libraries, to and from ours; nothing here needs those libraries.

In reading order: `key_table` (tables of keys and their checks), `torch_files` and
`safetensors_files` (read without their libraries), `weight_files` (any file, or a
folder of them), `hf_config` and `hf_files` (what transformers writes); then a source a
file:

    images/   vit, and its preprocessing; inception, the network of FID; vqgan and
              patch_gan, of taming-transformers and diffusers
    text/     marian (encoder-decoder), bert (encoder), gpt2 and llama (decoders)
    torch/    torch's own modules: recurrent, transformer
"""
