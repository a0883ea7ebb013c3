"""Networks, one paper a file; they know no optimiser.

Images: `vit`. Sequences of tokens: `transformer` (encoder-decoder), `transformer_lm`
(decoder alone), `transformer_encoder`, with their common sizes in `transformer_sizes`;
`rnn` (LSTM and GRU) and `rnn_seq2seq`.

What all autoregressive networks share: `decoding` (greedy, sampled, guided),
`beam_search`, and on top `translation` and `generation`. `sizing` finds widths.
"""
