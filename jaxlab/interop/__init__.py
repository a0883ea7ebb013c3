"""Weights of other libraries, to and from ours; nothing here needs those libraries.

In reading order: `key_table` (tables of keys and their checks), `hf_files` (folders and
files of Hugging Face transformers), `torch_files` (`.pth` files, read without torch);
then a source a file:

    images/   vit; inception, the network of FID
    text/     marian (encoder-decoder), bert (encoder), gpt2 and llama (decoders)
    torch/    torch's own modules: recurrent, transformer
"""
