"""Transformers of tokens, all made of the one block of `jaxlab.nn.blocks`.

`encoder_decoder` (Vaswani et al. 2017), `decoder` (GPT-2, Llama), `encoder` (BERT);
`sizes` holds the fields that they share.
"""
