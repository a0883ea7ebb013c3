"""Decoding of any autoregressive network: one token a step, in one compiled loop.

`decoding` (greedy, sampled, guided), `beam_search`, and on top of them `translation`
and `generation`.
"""
