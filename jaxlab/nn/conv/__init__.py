"""Convolutions that are fast on a CPU in all derivatives of all orders.

`layers` (what networks use) over `bilinear` (one product in its three forms, each the
derivative of the others), `forms` (what they are), `split` (over groups) and `native`
(kernels in C++).
"""
