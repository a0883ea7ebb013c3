"""Generators and critics beside those of `tests.models.gan.gan_in_torch`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.model import from_linen
from jaxlab.core.pytree import flat_paths, num_elements
from jaxlab.models.gan.make import GANS, make_gan
from tests.closeness import assert_close
from tests.models.gan.gan_in_torch import (
    CLASSES,
    cnn_d,
    cnn_g,
    dcgan_d,
    dcgan_g,
    maxout_d,
    maxout_g,
    mlp_d,
    mlp_g,
    point,
    resnet_d,
    resnet_g,
    sngan_cnn_d,
    sngan_cnn_g,
)
from tests.torch_spectral import set_direction

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.peer

# Relative to the largest value: float32 sums of hundreds of products, in another order.
ORDER_OF_SUMS = 1e-5
close = functools.partial(assert_close, tolerance=ORDER_OF_SUMS)

BATCH, LATENT = 5, 6


def random_variables(model, rng, *inputs):
    """Draw parameters, running statistics and vectors of norm 1."""

    def draw(path, leaf):
        kind, size = path[-1].key, leaf.shape
        if kind == "u":
            value = rng.normal(size=size)
            return jnp.asarray(value / np.linalg.norm(value), leaf.dtype)
        if kind == "var":
            return jnp.asarray(rng.uniform(0.5, 2, size), leaf.dtype)
        if kind == "scale":
            return jnp.asarray(1 + 0.2 * rng.normal(size=size), leaf.dtype)
        fan_in = int(np.prod(size[:-1])) if kind == "kernel" else 25
        return jnp.asarray(rng.normal(size=size) / fan_in**0.5, leaf.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def layer_at(module, path):
    *names, kind = [name for name in path.split("/") if name not in ("batch", "layer")]
    return functools.reduce(lambda m, name: m[name], names, module), kind


def fill(module, params, state, window):
    """Copy our variables into torch's, all of them."""
    filled = 0
    for path, leaf in flat_paths(params).items():
        layer, kind = layer_at(module, path)
        array = np.asarray(leaf)
        if isinstance(layer, nn.ModuleDict):  # a scale or a shift for each class
            layer = layer[kind]
        target = layer.bias if kind == "bias" and hasattr(layer, "bias") else None
        if target is None:
            is_spectral = nn.utils.parametrize.is_parametrized(layer)
            target = (
                layer.parametrizations.weight.original if is_spectral else layer.weight
            )
        if target.ndim == 4 and array.ndim == 2:  # a convolution of one pixel
            is_input = path == "input/kernel"
            array = (
                array.reshape(-1, window, window, target.shape[1]).transpose(1, 2, 3, 0)
                if is_input
                else array.reshape(window, window, -1, 1)
            )
        if kind == "kernel":
            array = array.transpose((1, 0) if array.ndim == 2 else (3, 2, 0, 1))
        assert target.shape == array.shape, path
        with torch.no_grad():
            target.copy_(torch.tensor(array.copy()))
        filled += array.size
    assert filled == sum(p.numel() for p in module.parameters())
    for path, leaf in flat_paths(state).items():
        array = np.asarray(leaf)
        if path.endswith("/u"):
            set_direction(layer_at(module, path.split("/", 1)[1])[0], array)
        else:
            torch_statistic(module, path).copy_(torch.tensor(array))


def torch_statistic(module, path):
    layer, kind = layer_at(module, path.split("/", 1)[1])
    if kind == "u":
        return layer.parametrizations.weight[0]._u
    if isinstance(layer, nn.ModuleDict):
        layer = layer["stats"]
    return layer.running_mean if kind == "mean" else layer.running_var


def to_torch(x):
    """Give torch's array, images NCHW."""
    x = np.array(x)
    return torch.tensor(x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x)


def from_torch(x):
    x = x.detach().numpy()
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def assert_equal_to_torch(network, layers, forward, x, labels, rng, window=4):
    """Compare outputs and input gradients in evaluation and training, and the state."""
    model = from_linen(network)
    params, state = random_variables(model, rng, x, labels)
    module = nn.ModuleDict(layers)
    fill(module, params, state, window)
    y = torch.tensor(np.asarray(labels))

    for train in (False, True):

        @jax.jit
        def run(params, state, x, train=train):
            def outputs(x):
                out, new = model.apply(params, state, x, labels, train=train)
                return out, new

            out, pull, new = jax.vjp(outputs, x, has_aux=True)
            # Factors that no symmetry of a batch cancels.
            factors = jax.tree.map(
                lambda o: jnp.sin(jnp.arange(o.size, dtype=o.dtype)).reshape(o.shape),
                out,
            )
            return jax.tree.leaves(out), jax.tree.leaves(factors), pull(factors)[0], new

        outs, factors, gradient, new = run(params, state, x)
        module.train(train)
        their_x = to_torch(x).requires_grad_()
        theirs = forward(module, their_x, y)
        theirs = theirs if isinstance(theirs, tuple) else (theirs,)
        sum(
            (out * to_torch(factor)).sum()
            for out, factor in zip(theirs, factors, strict=True)
        ).backward()
        for ours, other in zip(outs, theirs, strict=True):
            close(ours, from_torch(other), note=f"outputs, train={train}")
        close(gradient, from_torch(their_x.grad), note=f"gradient, train={train}")
        for path, leaf in flat_paths(new).items():
            close(leaf, torch_statistic(module, path), note=path)


@pytest.fixture
def labels(rng):
    return jnp.asarray(rng.integers(0, CLASSES, BATCH), jnp.int32)


def latents(rng):
    return jnp.asarray(rng.normal(size=(BATCH, LATENT)), jnp.float32)


def pixels(rng, *shape):
    return jnp.asarray(rng.uniform(-1, 1, (BATCH, *shape)), jnp.float32)


SMALL = {"width": 4, "latent_dim": LATENT}
# Name, shape, other settings; the torch network for it. 14 and 28 start from 7 x 7.
GENERATORS = {
    "dcgan": ("dcgan", (16, 16, 3), SMALL, lambda: dcgan_g(4, 2, 4, 3, LATENT)),
    "dcgan_28": ("dcgan", (28, 28, 1), SMALL, lambda: dcgan_g(4, 2, 7, 1, LATENT)),
    "cnn": ("cnn", (16, 16, 3), SMALL, lambda: cnn_g(4, 2, 4, 3, LATENT)),
    "sngan_cnn": (
        "sngan_cnn",
        (16, 16, 3),
        SMALL,
        lambda: sngan_cnn_g(4, 2, 4, 3, LATENT),
    ),
    "resnet": ("resnet", (16, 16, 3), SMALL, lambda: resnet_g(4, 2, 4, 3, LATENT)),
    "resnet_classes": (
        "resnet",
        (8, 8, 3),
        {**SMALL, "conditional": "acgan", "num_classes": CLASSES},
        lambda: resnet_g(4, 1, 4, 3, LATENT, CLASSES),
    ),
    "mlp": ("mlp", (4, 6, 2), {**SMALL, "width": 16}, lambda: mlp_g(16, (4, 6, 2), 6)),
    "maxout": ("maxout", (4, 6, 2), SMALL, lambda: maxout_g(4, (4, 6, 2), LATENT)),
    "point": ("point", (2,), {"width": 8}, lambda: point(8, 2)),
}
CRITICS = {
    "dcgan": ("dcgan", (16, 16, 3), {}, lambda: dcgan_d(4, 2, 4, 3)),
    "dcgan_28": ("dcgan", (28, 28, 1), {}, lambda: dcgan_d(4, 2, 7, 1)),
    "dcgan_layer": (
        "dcgan",
        (16, 16, 3),
        {"norm": "layer"},
        lambda: dcgan_d(4, 2, 4, 3, "layer"),
    ),
    "cnn": ("cnn", (16, 16, 3), {}, lambda: cnn_d(4, 2, 4, 3)),
    "sngan_cnn": ("sngan_cnn", (16, 16, 3), {}, lambda: sngan_cnn_d(4, 2, 4, 3)),
    "resnet": ("resnet", (32, 32, 3), {}, lambda: resnet_d(4, 2, 3)),
    "resnet_layer": (
        "resnet",
        (32, 32, 3),
        {"norm": "layer"},
        lambda: resnet_d(4, 2, 3, norm=True),
    ),
    "resnet_acgan": (
        "resnet",
        (8, 8, 3),
        {"conditional": "acgan", "num_classes": CLASSES},
        lambda: resnet_d(4, 1, 3, conditional="acgan"),
    ),
    "resnet_projection": (
        "resnet",
        (8, 8, 3),
        {"conditional": "projection", "num_classes": CLASSES},
        lambda: resnet_d(4, 1, 3, conditional="projection"),
    ),
    "sngan": ("sngan", (32, 32, 3), {}, lambda: resnet_d(4, 2, 3, sn=True)),
    "sngan_acgan": (
        "sngan",
        (8, 8, 3),
        {"conditional": "acgan", "num_classes": CLASSES},
        lambda: resnet_d(4, 1, 3, sn=True, conditional="acgan"),
    ),
    "sngan_projection": (
        "sngan",
        (8, 8, 3),
        {"conditional": "projection", "num_classes": CLASSES},
        lambda: resnet_d(4, 1, 3, sn=True, conditional="projection"),
    ),
    "mlp": ("mlp", (4, 6, 2), {"critic_width": 8}, lambda: mlp_d(8, 48)),
    "maxout": ("maxout", (4, 6, 2), {"critic_width": 4}, lambda: maxout_d(4, 48)),
    "point": ("point", (2,), {"critic_width": 8}, lambda: point(8, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", GENERATORS)
def test_generators_are_those_of_torch(case, rng, labels):
    name, shape, options, make = GENERATORS[case]
    generator = make_gan(name, shape, **options).generator
    z = latents(rng)[:, :2] if name == "point" else latents(rng)
    assert_equal_to_torch(generator, *make(), z, labels, rng, window=shape[0] // 4)


@pytest.mark.slow
@pytest.mark.parametrize("case", CRITICS)
def test_critics_are_those_of_torch(case, rng, labels):
    name, shape, options, make = CRITICS[case]
    critic = make_gan(name, shape, **{"critic_width": 4, **options}).critic
    if name == "maxout":  # dropout has its own test
        critic = critic.clone(dropout_rate=0.0, input_dropout_rate=0.0)
    x = pixels(rng, *shape)
    assert_equal_to_torch(critic, *make(), x, labels, rng, window=shape[0] // 4)


COUNTS = {
    # Those that the DCGAN tutorial of PyTorch gives.
    "dcgan": (
        (64, 64, 3),
        lambda: (dcgan_g(64, 4, 4, 3, 100), dcgan_d(64, 4, 4, 3)),
        (3_576_704, 2_765_568),
    ),
    "cnn": (
        (32, 32, 3),
        lambda: (cnn_g(128, 3, 4, 3, 128), cnn_d(128, 3, 4, 3)),
        None,
    ),
    "sngan_cnn": (
        (32, 32, 3),
        lambda: (sngan_cnn_g(64, 3, 4, 3, 128), sngan_cnn_d(64, 3, 4, 3)),
        None,
    ),
    "resnet": (
        (32, 32, 3),
        lambda: (resnet_g(128, 3, 4, 3, 128), resnet_d(128, 2, 3)),
        None,
    ),
    "sngan": (
        (32, 32, 3),
        lambda: (resnet_g(256, 3, 4, 3, 128), resnet_d(128, 2, 3, sn=True)),
        None,
    ),
    "mlp": (
        (28, 28, 1),
        lambda: (mlp_g(1024, (28, 28, 1), 100), mlp_d(512, 784)),
        None,
    ),
    "maxout": (
        (28, 28, 1),
        lambda: (maxout_g(1200, (28, 28, 1), 100), maxout_d(240, 784)),
        None,
    ),
    "point": ((2,), lambda: (point(512, 2), point(512, 1)), None),
}


@pytest.mark.parametrize("name", GANS)
def test_the_papers_sizes_have_as_many_parameters_as_in_torch(name):
    shape, make, published = COUNTS[name]
    gan = make_gan(name, shape)
    inputs = (jnp.zeros((2, gan.latent_dim)), jnp.zeros((2, *shape)))
    ours = tuple(
        num_elements(jax.eval_shape(from_linen(net).init, jax.random.key(0), x)[0])
        for net, x in zip((gan.generator, gan.critic), inputs, strict=True)
    )
    theirs = tuple(
        sum(p.numel() for p in nn.ModuleDict(layers).parameters())
        for layers, _ in make()
    )
    assert ours == theirs
    assert published in (None, ours)
