"""Modules as one compiled program: eager, XLA compiles each of their operations."""

import jax

STATIC = ("train", "method")


def jitted_init(module, *inputs, **options):
    """Initialise a module; numbers of Python, `train` and `method` are no arrays."""
    return _jit(module.init, inputs, options)


def jitted_apply(module, *inputs, **options):
    """Apply a module; numbers of Python, `train` and `method` are no arrays."""
    return _jit(module.apply, inputs, options)


def _jit(function, inputs, options):
    places = [i for i, value in enumerate(inputs) if isinstance(value, int | float)]
    names = [name for name in STATIC if name in options]
    compiled = jax.jit(function, static_argnums=places, static_argnames=names)
    return compiled(*inputs, **options)
