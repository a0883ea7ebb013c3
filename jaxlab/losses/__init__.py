"""Losses as pure functions of outputs and targets, one family a file.

`labels` of classes, hard or soft; `tokens` of sequences; `adversarial` of two players,
`lipschitz` (penalties of a slope, clipping).
"""
