"""Weights of other libraries, to and from ours; nothing here needs those libraries.

In reading order: `table` (key tables and their checks); torch's own modules in
`torch_rnn` and `torch_transformer`; models of Hugging Face transformers, whose files
`hf_files` reads: `hf_vit`, `hf_marian` (encoder-decoder), `hf_bert` (encoder) and
`hf_gpt2` and `hf_llama` (decoders). `torch_files` reads `.pth` without torch;
`torch_inception` is the network of FID, and `feature_networks` chooses between it and a
classifier trained here.
"""
