"""The networks of `jaxlab.models.gan` beside torch networks written from their sources.

The torch networks follow the authors' code: NCHW, pooling after convolutions, the first
and last layers of DCGAN as convolutions, torch's own batch and spectral norms.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.model import SPECTRAL, from_linen
from jaxlab.core.pytree import flat_paths, num_elements
from jaxlab.models.gan import GANS, make_gan

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.peer

# Relative to the largest value: float32 sums of hundreds of products, in another order.
ORDER_OF_SUMS = 1e-5
BATCH, CLASSES, LATENT = 5, 3, 6


def spectral(layer, on):
    return nn.utils.parametrizations.spectral_norm(layer) if on else layer


def conditional_norm(width, classes):
    if not classes:
        return nn.BatchNorm2d(width)
    return nn.ModuleDict(
        {
            "stats": nn.BatchNorm2d(width, affine=False),
            "scale": nn.Embedding(classes, width),
            "bias": nn.Embedding(classes, width),
        }
    )


def normalize(norm, x, y=None):
    if not isinstance(norm, nn.ModuleDict):
        return norm(x)
    scale, bias = (norm[name](y)[:, :, None, None] for name in ("scale", "bias"))
    return norm["stats"](x) * scale + bias


# --- The networks: layers by our names, and what they compute. w is the width, n the
# --- number of doublings from `base`.


def dcgan_g(w, n, base, channels, latent):
    layers = {
        "input": nn.ConvTranspose2d(latent, w << (n - 1), base, 1, 0, bias=False),
        "norm_0": nn.BatchNorm2d(w << (n - 1)),
        "out": nn.ConvTranspose2d(w, channels, 4, 2, 1, bias=False),
    }
    for i in range(1, n):
        wide = w << (n - i)
        layers[f"up_{i}"] = nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False)
        layers[f"norm_{i}"] = nn.BatchNorm2d(wide // 2)

    def forward(m, z, y):
        x = F.relu(m["norm_0"](m["input"](z[:, :, None, None])))
        for i in range(1, n):
            x = F.relu(m[f"norm_{i}"](m[f"up_{i}"](x)))
        return torch.tanh(m["out"](x))

    return layers, forward


def dcgan_d(w, n, base, channels, norm="batch"):
    def make_norm(width):
        if norm == "layer":
            return nn.GroupNorm(1, width)
        return nn.BatchNorm2d(width) if norm == "batch" else nn.Identity()

    layers = {"conv_0": nn.Conv2d(channels, w, 4, 2, 1, bias=False)}
    for i in range(1, n):
        wide = w << i
        layers[f"conv_{i}"] = nn.Conv2d(wide // 2, wide, 4, 2, 1, bias=False)
        layers[f"norm_{i}"] = make_norm(wide)
    score = nn.Conv2d(w << (n - 1), 1, base, 1, 0, bias=False)
    layers["head"] = nn.ModuleDict({"score": score})

    def forward(m, x, y):
        x = F.leaky_relu(m["conv_0"](x), 0.2)
        for i in range(1, n):
            x = F.leaky_relu(m[f"norm_{i}"](m[f"conv_{i}"](x)), 0.2)
        return m["head"]["score"](x)[:, 0, 0, 0]

    return layers, forward


def cnn_g(w, n, base, channels, latent):
    units = base * base * (w << (n - 1))
    layers = {
        "input": nn.Linear(latent, units),
        "norm_0": nn.BatchNorm1d(units),
        "out": nn.ConvTranspose2d(w, channels, 5, 2),
    }
    for i in range(1, n):
        wide = w << (n - i)
        layers[f"up_{i}"] = nn.ConvTranspose2d(wide, wide // 2, 5, 2)
        layers[f"norm_{i}"] = nn.BatchNorm2d(wide // 2)

    def same(x):  # TensorFlow's SAME of a stride of 2: one pixel before, two behind
        return x[:, :, 1:-2, 1:-2]

    def forward(m, z, y):
        x = F.relu(m["norm_0"](m["input"](z)))
        x = x.view(len(z), base, base, -1).permute(0, 3, 1, 2)
        for i in range(1, n):
            x = F.relu(m[f"norm_{i}"](same(m[f"up_{i}"](x))))
        return torch.tanh(same(m["out"](x)))

    return layers, forward


def cnn_d(w, n, base, channels):
    layers = {
        f"conv_{i}": nn.Conv2d((w << i) // 2 if i else channels, w << i, 5, 2)
        for i in range(n)
    }
    layers["head"] = nn.ModuleDict(
        {"score": nn.Linear(base * base * (w << (n - 1)), 1)}
    )

    def forward(m, x, y):
        for i in range(n):
            x = F.leaky_relu(m[f"conv_{i}"](F.pad(x, (1, 2, 1, 2))), 0.2)
        return m["head"]["score"](x.permute(0, 2, 3, 1).flatten(1))[:, 0]

    return layers, forward


def sngan_cnn_g(w, n, base, channels, latent):
    wide = w << n
    layers = {
        "input": nn.Linear(latent, base * base * wide),
        "norm_0": nn.BatchNorm2d(wide),
        "out": nn.Conv2d(w, channels, 3, 1, 1),
    }
    for i in range(1, n + 1):
        layers[f"up_{i}"] = nn.ConvTranspose2d(2 * wide >> i, wide >> i, 4, 2, 1)
        layers[f"norm_{i}"] = nn.BatchNorm2d(wide >> i)

    def forward(m, z, y):
        x = m["input"](z).view(len(z), base, base, -1).permute(0, 3, 1, 2)
        x = F.relu(m["norm_0"](x))
        for i in range(1, n + 1):
            x = F.relu(m[f"norm_{i}"](m[f"up_{i}"](x)))
        return torch.tanh(m["out"](x))

    return layers, forward


def sngan_cnn_d(w, n, base, channels):
    layers, inside = {}, channels
    for i in range(n):
        layers[f"conv_{i}"] = spectral(nn.Conv2d(inside, w << i, 3, 1, 1), True)
        inside = 2 * w << i
        layers[f"down_{i}"] = spectral(nn.Conv2d(w << i, inside, 4, 2, 1), True)
    layers[f"conv_{n}"] = spectral(nn.Conv2d(inside, inside, 3, 1, 1), True)
    score = spectral(nn.Linear(base * base * inside, 1), True)
    layers["head"] = nn.ModuleDict({"score": score})

    def forward(m, x, y):
        for i in range(n):
            x = F.leaky_relu(m[f"conv_{i}"](x), 0.1)
            x = F.leaky_relu(m[f"down_{i}"](x), 0.1)
        x = F.leaky_relu(m[f"conv_{n}"](x), 0.1)
        return m["head"]["score"](x.permute(0, 2, 3, 1).flatten(1))[:, 0]

    return layers, forward


def resnet_g(w, n, base, channels, latent, classes=0):
    def block():
        return nn.ModuleDict(
            {
                "norm_0": conditional_norm(w, classes),
                "conv_0": nn.Conv2d(w, w, 3, 1, 1),
                "norm_1": conditional_norm(w, classes),
                "conv_1": nn.Conv2d(w, w, 3, 1, 1),
                "shortcut": nn.Conv2d(w, w, 1),
            }
        )

    layers = {
        "input": nn.Linear(latent, base * base * w),
        **{f"block_{i}": block() for i in range(n)},
        "norm": nn.BatchNorm2d(w),
        "out": nn.Conv2d(w, channels, 3, 1, 1),
    }

    def up(x):
        return F.interpolate(x, scale_factor=2)

    def forward(m, z, y):
        x = m["input"](z).view(len(z), base, base, w).permute(0, 3, 1, 2)
        for i in range(n):
            b = m[f"block_{i}"]
            h = b["conv_0"](up(F.relu(normalize(b["norm_0"], x, y))))
            h = b["conv_1"](F.relu(normalize(b["norm_1"], h, y)))
            x = h + b["shortcut"](up(x))
        return torch.tanh(m["out"](F.relu(m["norm"](x))))

    return layers, forward


def critic_block(inside, w, shortcut, sn, norm):
    layers = {
        "conv_0": spectral(nn.Conv2d(inside, w, 3, 1, 1), sn),
        "conv_1": spectral(nn.Conv2d(w, w, 3, 1, 1), sn),
    }
    if norm:
        layers |= {f"norm_{i}": nn.GroupNorm(1, w) for i in (0, 1)}
    if shortcut:
        layers["shortcut"] = spectral(nn.Conv2d(inside, w, 1), sn)
    return nn.ModuleDict(layers)


def resnet_d(w, downs, channels, sn=False, norm=False, conditional="none"):
    """Write WGAN-GP's critic, or SNGAN's, which differ in norms, pool and bias."""

    layers = {
        f"block_{i}": critic_block(w if i else channels, w, i < downs, sn, norm and i)
        for i in range(downs + 2)
    }
    head = {"score": spectral(nn.Linear(w, 1, bias=not sn), sn)}
    if conditional == "acgan":
        head["classes"] = spectral(nn.Linear(w, CLASSES), sn)
    if conditional == "projection":
        head["embed"] = spectral(nn.Embedding(CLASSES, w), sn)
    layers["head"] = nn.ModuleDict(head)

    def activate(b, i, x):
        return F.relu(b[f"norm_{i}"](x) if f"norm_{i}" in b else x)

    def forward(m, x, y):
        pool = functools.partial(F.avg_pool2d, kernel_size=2)
        b = m["block_0"]
        h = pool(b["conv_1"](F.relu(b["conv_0"](x))))
        x = h + b["shortcut"](pool(x))
        for i in range(1, downs + 2):
            b = m[f"block_{i}"]
            h = b["conv_1"](activate(b, 1, b["conv_0"](activate(b, 0, x))))
            x = pool(h) + pool(b["shortcut"](x)) if i < downs else h + x
        x = F.relu(x)
        x = x.sum((2, 3)) if sn else x.mean((2, 3))
        scores = m["head"]["score"](x)[:, 0]
        if conditional == "acgan":
            return scores, m["head"]["classes"](x)
        if conditional == "projection":
            scores = scores + (m["head"]["embed"](y) * x).sum(1)
        return scores

    return layers, forward


def mlp_g(w, shape, latent):
    layers, inside = {}, latent
    for i, wide in enumerate((w // 4, w // 2, w)):
        layers[f"dense_{i}"] = nn.Linear(inside, wide)
        layers[f"norm_{i}"] = nn.BatchNorm1d(wide, eps=1e-3, momentum=0.2)
        inside = wide
    layers["out"] = nn.Linear(w, shape[0] * shape[1] * shape[2])

    def forward(m, z, y):
        for i in range(3):
            z = m[f"norm_{i}"](F.leaky_relu(m[f"dense_{i}"](z), 0.2))
        return torch.tanh(m["out"](z)).view(len(z), *shape).permute(0, 3, 1, 2)

    return layers, forward


def mlp_d(w, pixels):
    layers = {
        "dense_0": nn.Linear(pixels, w),
        "dense_1": nn.Linear(w, w // 2),
        "head": nn.ModuleDict({"score": nn.Linear(w // 2, 1)}),
    }

    def forward(m, x, y):
        x = x.permute(0, 2, 3, 1).flatten(1)
        for i in range(2):
            x = F.leaky_relu(m[f"dense_{i}"](x), 0.2)
        return m["head"]["score"](x)[:, 0]

    return layers, forward


def maxout_g(w, shape, latent):
    layers = {
        "dense_0": nn.Linear(latent, w),
        "dense_1": nn.Linear(w, w),
        "out": nn.Linear(w, shape[0] * shape[1] * shape[2]),
    }

    def forward(m, z, y):
        for i in range(2):
            z = F.relu(m[f"dense_{i}"](z))
        images = torch.sigmoid(m["out"](z)) * 2 - 1
        return images.view(len(z), *shape).permute(0, 3, 1, 2)

    return layers, forward


def maxout_d(w, pixels):
    layers = {
        "dense_0": nn.Linear(pixels, 5 * w),
        "dense_1": nn.Linear(w, 5 * w),
        "out": nn.Linear(w, 1),
    }

    def forward(m, x, y):
        x = (x.permute(0, 2, 3, 1).flatten(1) + 1) / 2
        for i in range(2):
            x = m[f"dense_{i}"](x).view(len(x), w, 5).amax(2)
        return m["out"](x)[:, 0]

    return layers, forward


def point(w, outputs):
    layers = {"dense_0": nn.Linear(2, w), "out": nn.Linear(w, outputs)}
    layers |= {f"dense_{i}": nn.Linear(w, w) for i in (1, 2)}

    def forward(m, x, y):
        for i in range(3):
            x = F.relu(m[f"dense_{i}"](x))
        x = m["out"](x)
        return x if outputs == 2 else x[:, 0]

    return layers, forward


# --- Comparison


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
        statistic = torch_statistic(module, path)
        with torch.no_grad():
            statistic.copy_(torch.tensor(np.asarray(leaf)))
            if path.endswith("/u"):
                weight = layer_at(module, path.split("/", 1)[1])[0].parametrizations
                v = weight.weight.original.flatten(1).T @ statistic
                weight.weight[0]._v.copy_(v / v.norm())


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


def assert_close(ours, theirs, what):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, what
    error = np.abs(ours - theirs).max()
    assert error <= ORDER_OF_SUMS * np.abs(theirs).max(), (what, error)


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
            assert_close(ours, from_torch(other), f"outputs, train={train}")
        assert_close(gradient, from_torch(their_x.grad), f"gradient, train={train}")
        for path, leaf in flat_paths(new).items():
            assert_close(leaf, torch_statistic(module, path), path)


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


def test_a_generator_of_sngan_has_chainers_eps():
    assert make_gan("sngan", (32, 32, 3)).generator.norm_eps == 2e-5


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


def test_the_state_of_spectral_critics_is_spectral_alone(rng, labels):
    for name in ("dcgan", "cnn", "resnet"):
        critic = from_linen(make_gan(name, (8, 8, 1), width=4, spectral=True).critic)
        _, state = jax.eval_shape(critic.init, jax.random.key(0), pixels(rng, 8, 8, 1))
        assert set(state) == {SPECTRAL}
