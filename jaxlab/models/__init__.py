"""Networks, one paper a file; they know no optimiser.

Images: `vit`. Sequences of tokens: `transformer` (encoder-decoder), `transformer_lm`
(decoder alone), `transformer_encoder`, with their common sizes in `transformer_sizes`;
`rnn` (LSTM and GRU) and `rnn_seq2seq`.

Pairs of a generator and a critic: `gan` finds them by name in `gan_mlp`, `gan_conv` and
`gan_resnet`. What measures images: `feature_classifier` and `inception`.

What all autoregressive networks share: `decoding` (greedy, sampled, guided),
`beam_search`, and on top `translation` and `generation`. `sizing` finds widths.
"""
