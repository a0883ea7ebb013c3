"""The vectors that torch's spectral norm keeps."""


def set_direction(layer, u):
    """Set u of a layer, and the v that goes with it: torch keeps both, we keep u alone.

    Returns:
        The module of torch that holds `_u` and `_v`.
    """
    weight = layer.parametrizations.weight
    norm, matrix = weight[0], weight.original.detach().flatten(1)
    norm._u.copy_(matrix.new_tensor(u))
    v = matrix.T @ norm._u
    norm._v.copy_(v / v.norm())
    return norm
