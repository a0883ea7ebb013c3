"""Modules as one compiled program: eager, XLA compiles each of their operations."""

import jax

STATIC = ("train", "method")


def jitted_init(module, *inputs, **options):
    """Initialise a module; `train` and `method` are no arrays."""
    return _jit(module.init, options)(*inputs, **options)


def jitted_apply(module, *inputs, **options):
    """Apply a module; `train` and `method` are no arrays."""
    return _jit(module.apply, options)(*inputs, **options)


def _jit(function, options):
    static = [name for name in STATIC if name in options]
    return jax.jit(function, static_argnames=static)
