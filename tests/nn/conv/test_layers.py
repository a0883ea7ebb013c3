"""Tests of `jaxlab.nn.conv.layers` and of what runs underneath."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxlab.core.errors import InputError
from jaxlab.core.mesh import make_mesh, shard_batch
from jaxlab.nn.conv import native as conv_native
from jaxlab.nn.conv.forms import ROLES, Geometry, by_xla, by_xla_on_cpu, others
from jaxlab.nn.conv.layers import Conv, ConvTranspose, conv, conv_transpose
from jaxlab.nn.conv.native import by_native
from tests.closeness import assert_close
from tests.jitted import jitted_apply, jitted_init

# Sums of some hundred float32 products, in another order.
ROUNDING = 1e-5
# bfloat16 keeps 8 bits.
BFLOAT16 = 1e-2

close = functools.partial(assert_close, tolerance=ROUNDING)

# Rows, columns, kernel, stride, padding.
SHAPES = [
    (8, 8, (3, 3), (1, 1), "SAME"),
    (7, 9, (5, 4), (2, 3), "SAME"),
    (9, 8, (4, 4), (2, 2), "VALID"),
    (6, 7, (1, 1), (2, 2), "SAME"),
    (6, 7, (1, 2), (3, 3), 0),
    (8, 7, (7, 3), (3, 1), ((4, 1), (0, 2))),
    (5, 6, (2, 6), (1, 2), 1),
]


def has_kernels():
    """Tell whether JAX runs on a CPU and the kernels are loaded."""
    return conv_native._LIBRARY.is_available()


def draw(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def xla(x, kernel, stride, padding):
    """Convolve by XLA alone."""
    if isinstance(padding, int):
        padding = ((padding, padding),) * 2
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, stride, padding, dimension_numbers=layout
    )


def penalty(f):
    """A gradient penalty: its gradient takes the second derivatives of f."""

    def value(*args):
        gradients = jax.grad(lambda *a: jnp.sin(f(*a)).sum(), (0, 1))(*args)
        return sum(jnp.square(g).sum() for g in gradients)

    return value


@pytest.mark.parametrize(("rows", "columns", "size", "stride", "padding"), SHAPES)
def test_values_and_derivatives_are_those_of_xla(
    rng, rows, columns, size, stride, padding
):
    x, kernel = draw(rng, 5, rows, columns, 3), draw(rng, *size, 3, 6)

    def ours(x, kernel):
        return conv(x, kernel, stride=stride, padding=padding)

    def theirs(x, kernel):
        return xla(x, kernel, stride, padding)

    def all_of(f):
        def run(x, kernel):
            gradients = jax.grad(lambda *a: jnp.sin(f(*a)).sum(), (0, 1))(x, kernel)
            second = jax.grad(penalty(f), (0, 1))(x, kernel)
            forward = jax.jvp(f, (x, kernel), (jnp.cos(x), jnp.sin(kernel)))
            return gradients, second, forward

        return jax.jit(run)(x, kernel)

    close(all_of(ours), all_of(theirs))
    close(ours(x, kernel), theirs(x, kernel))  # not jitted


@pytest.mark.parametrize("form", ["native", "xla_on_cpu"])
@pytest.mark.parametrize(
    ("batch", "image", "kernel", "output", "stride", "before", "channels"),
    [
        # Full tiles and rests of them, in rows and lanes; rests above and below half.
        (16, (6, 6), (3, 3), (6, 6), (1, 1), (1, 1), (32, 64)),
        (13, (7, 5), (5, 4), (4, 2), (2, 3), (2, 1), (3, 70)),
        (4, (8, 8), (4, 4), (4, 4), (2, 2), (1, 1), (70, 3)),
        (33, (2, 3), (3, 1), (3, 2), (1, 2), (2, 0), (1, 1)),
        (1, (4, 4), (4, 4), (1, 1), (1, 1), (0, 0), (17, 9)),
        # A kernel that is larger than the image, and one that skips pixels.
        (6, (2, 2), (5, 5), (2, 2), (1, 1), (2, 2), (8, 20)),
        (6, (7, 8), (1, 2), (3, 2), (3, 4), (0, 0), (5, 40)),
        # Pixels at the end are not read.
        (5, (9, 9), (3, 3), (3, 3), (2, 2), (0, 1), (4, 4)),
    ],
)
def test_each_form_of_each_map_is_that_of_xla(
    rng, form, batch, image, kernel, output, stride, before, channels
):
    geometry = Geometry(image, kernel, output, stride, before)
    arrays = {
        "image": draw(rng, batch, *image, channels[0]),
        "kernel": draw(rng, *kernel, *channels),
        "output": draw(rng, batch, *output, channels[1]),
    }
    run = {"native": by_native, "xla_on_cpu": by_xla_on_cpu}[form]
    if form == "native" and not has_kernels():
        pytest.skip("no compiled kernels")
    for role in ROLES:
        args = (role, *(arrays[other] for other in others(role)), geometry)
        close(run(*args), by_xla(*args))


def test_without_compiled_kernels_all_is_the_same(rng, monkeypatch):
    x, kernel = draw(rng, 5, 7, 6, 3), draw(rng, 4, 3, 3, 6)

    def run():
        value = penalty(lambda *a: conv(*a, stride=(2, 1)))
        lowered = jax.jit(jax.grad(value, (0, 1))).lower(x, kernel)
        return lowered.as_text(), lowered.compile()(x, kernel)

    with_kernels = run()
    assert ("jaxlab_convolve" in with_kernels[0]) == has_kernels()
    monkeypatch.setattr("jaxlab.nn.conv.bilinear.suits_native", lambda *_: False)
    without = run()
    assert "jaxlab_convolve" not in without[0]
    close(without[1], with_kernels[1])


def test_second_derivatives_are_those_of_finite_differences(rng):
    x, kernel = draw(rng, 2, 5, 4, 2), draw(rng, 3, 2, 2, 3)
    run = jax.jit(lambda *a: jnp.sin(conv(*a, stride=(2, 1))))
    check_grads(run, (x, kernel), order=2, eps=1e-2, rtol=2e-2)


@pytest.mark.parametrize("axes", list(itertools.product((0, 1, None), repeat=2))[:-1])
@pytest.mark.parametrize("of", ["output", "gradients"])
def test_vmap_is_a_loop(rng, axes, of):
    x = draw(rng, 3, 3, 6, 5, 2) if axes[0] is not None else draw(rng, 3, 6, 5, 2)
    kernel = draw(rng, 3, 3, 3, 2, 4) if axes[1] is not None else draw(rng, 3, 3, 2, 4)

    def output(x, kernel):
        return conv(x, kernel, stride=(2, 2))

    run = {
        "output": output,
        "gradients": jax.grad(lambda *a: jnp.sin(output(*a)).sum(), (0, 1)),
    }[of]
    one_by_one = [
        run(
            *(
                a if ax is None else a.take(i, ax)
                for a, ax in zip((x, kernel), axes, strict=True)
            )
        )
        for i in range(3)
    ]
    expected = jax.tree.map(lambda *parts: jnp.stack(parts), *one_by_one)
    close(jax.jit(jax.vmap(run, axes))(x, kernel), expected)


@pytest.mark.parametrize("role", ["output", "image", "kernel"])
def test_bfloat16_is_added_up_in_float32(rng, role):
    x, kernel = draw(rng, 4, 6, 6, 32), draw(rng, 5, 5, 32, 8)
    x, kernel = (a.astype(jnp.bfloat16) for a in (x, kernel))
    seed = draw(rng, 4, 3, 3, 8).astype(jnp.bfloat16)

    def three(f, *args):
        y, pull = jax.vjp(f, *args)
        image, kernel = pull(seed.astype(y.dtype))
        return {"output": y, "image": image, "kernel": kernel}

    found = three(lambda *a: conv(*a, stride=(2, 2)), x, kernel)[role]
    wide = three(
        lambda *a: xla(*a, (2, 2), "SAME"), *(a.astype(float) for a in (x, kernel))
    )
    assert found.dtype == jnp.bfloat16
    close(found, wide[role], tolerance=BFLOAT16)


@pytest.mark.parametrize("mesh", ["data=2", "data=4", "data=2,fsdp=2"])
def test_a_split_batch_stays_split(rng, mesh):
    x, kernel = draw(rng, 16, 8, 8, 4), draw(rng, 5, 5, 4, 16)
    mesh = make_mesh(mesh)

    def step(x, kernel):
        y = conv(x, kernel, stride=(2, 2))
        second = jax.grad(penalty(lambda *a: conv(*a, stride=(2, 2))), 1)(x, kernel)
        return y, second, kernel - jax.grad(lambda k: jnp.sin(conv(x, k)).sum())(kernel)

    alone = jax.jit(step)(x, kernel)
    split = shard_batch({"x": np.asarray(x)}, mesh)["x"]
    whole = jax.device_put(kernel, NamedSharding(mesh, P()))
    compiled = jax.jit(step).lower(split, whole).compile()
    found = compiled(split, whole)
    close(found, alone)
    assert found[0].sharding.shard_shape(found[0].shape)[0] == 16 // mesh.size
    assert "all-gather" not in compiled.as_text()
    assert "all-to-all" not in compiled.as_text()


@pytest.mark.parametrize(
    ("sizes", "types", "of_batch", "of_kernel"),
    [
        ((4,), "E", P("a"), P()),
        ((2, 2), "EE", P(("a", "b")), P()),
        ((2, 2), "EA", P("a"), P()),
        ((2, 2), "EE", P("a", None, "b"), P(None, None, None, "b")),
        ((2,), "E", P(), P()),
    ],
)
def test_a_batch_split_over_explicit_axes_stays_split(
    rng, sizes, types, of_batch, of_kernel
):
    x, kernel = draw(rng, 16, 6, 6, 4), draw(rng, 3, 3, 4, 8)
    kinds = {"E": AxisType.Explicit, "A": AxisType.Auto}
    names = ("a", "b")[: len(sizes)]
    mesh = jax.make_mesh(sizes, names, axis_types=tuple(kinds[t] for t in types))

    def output(x, kernel):
        return conv(x, kernel, stride=(2, 2))

    def step(x, kernel):
        y = output(x, kernel)
        first = jax.grad(lambda *a: jnp.sin(output(*a)).sum(), (0, 1))(x, kernel)
        second = jax.grad(penalty(output), (0, 1))(x, kernel)
        back = conv_transpose(y, kernel, stride=(2, 2), out_size=(6, 6))
        return y, first, second, back, jax.jvp(output, (x, kernel), (x, kernel))

    alone = jax.jit(step)(x, kernel)
    split = jax.device_put(x, NamedSharding(mesh, of_batch))
    whole = jax.device_put(kernel, NamedSharding(mesh, of_kernel))
    with jax.set_mesh(mesh):
        compiled = jax.jit(step).lower(split, whole).compile()
        found = compiled(split, whole)
    close(found, alone)
    shares = split.sharding.shard_shape(x.shape)[0]
    assert found[0].sharding.shard_shape(found[0].shape)[0] == shares
    assert found[1][0].sharding.is_equivalent_to(split.sharding, 4)
    assert found[1][1].sharding.is_equivalent_to(whole.sharding, 4)
    if of_kernel == P():
        assert "all-gather" not in compiled.as_text()


def test_explicit_axes_meet_what_else_there_is(rng):
    x, kernel = draw(rng, 8, 6, 6, 2), draw(rng, 3, 3, 2, 4)
    expected = conv(x, kernel)
    mesh = jax.make_mesh((4,), ("data",))
    split = jax.device_put(x, NamedSharding(mesh, P("data")))
    close(conv(split, jax.device_put(kernel, NamedSharding(mesh, P()))), expected)
    with jax.set_mesh(mesh):
        close(conv(x, kernel), expected)  # not laid over the mesh
        close(jax.jit(conv)(split, kernel), expected)
        pair = jnp.stack([split, 2 * split])
        found = jax.jit(jax.vmap(conv, (0, None)))(pair, kernel)
    close(found, jnp.stack([expected, 2 * expected]))


def test_a_mesh_of_which_some_axes_are_manual(rng):
    x, kernel = draw(rng, 8, 6, 6, 2), draw(rng, 3, 3, 2, 4)
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    run = jax.shard_map(
        conv, mesh=mesh, in_specs=(P("a"), P()), out_specs=P("a"), axis_names={"a"}
    )
    close(jax.jit(run)(x, kernel), conv(x, kernel))


def test_gradients_inside_shard_map_are_added_up(rng):
    x, kernel = draw(rng, 8, 5, 5, 2), draw(rng, 3, 3, 2, 4)

    def gradient(x, kernel):
        return jax.grad(lambda k: jnp.sin(conv(x, k)).sum())(kernel)

    mesh = make_mesh("data=2")
    run = jax.shard_map(gradient, mesh=mesh, in_specs=(P("data"), P()), out_specs=P())
    close(jax.jit(run)(x, kernel), gradient(x, kernel))


def test_a_layer_is_that_of_flax(rng, key):
    x = draw(rng, 2, 7, 8, 3)
    for options in (
        {"features": 5, "kernel_size": (3, 2), "strides": (2, 1)},
        {"features": 4, "kernel_size": (1, 1), "use_bias": False},
        {"features": 2, "kernel_size": (4, 4), "padding": "VALID"},
        {"features": 2, "kernel_size": (3, 3), "padding": ((0, 1), (2, 3))},
    ):
        theirs = nn.Conv(**options)
        variables = jitted_init(theirs, key, x)
        ours = Conv(**options)
        close(jitted_init(ours, key, x), variables)
        close(jitted_apply(ours, variables, x), jitted_apply(theirs, variables, x))


def test_a_transposed_layer_is_that_of_flax(rng, key):
    x = draw(rng, 2, 4, 5, 3)
    for size, stride, padding in itertools.product(
        ((3, 3), (4, 4), (5, 4)), ((1, 1), (2, 2), (3, 2)), ("SAME", "VALID")
    ):
        options = {"kernel_size": size, "strides": stride, "padding": padding}
        theirs = nn.ConvTranspose(6, transpose_kernel=True, **options)
        variables = jitted_init(theirs, key, x)
        ours = ConvTranspose(6, **options)
        assert jax.tree.map(jnp.shape, jitted_init(ours, key, x)) == jax.tree.map(
            jnp.shape, variables
        )
        close(jitted_apply(ours, variables, x), jitted_apply(theirs, variables, x))


def test_a_transposed_layer_starts_at_the_scale_of_what_it_reads(rng, key):
    x = draw(rng, 64, 4, 4, 64)
    y, _ = ConvTranspose(8, (4, 4), (2, 2)).init_with_output(key, x)
    # Four of the sixteen entries of the kernel meet at a pixel.
    assert 0.4 < np.asarray(y).std() < 0.6


def test_a_transposed_convolution_is_the_adjoint(rng):
    image, output = draw(rng, 2, 7, 9, 3), draw(rng, 2, 4, 3, 5)
    kernel = draw(rng, 5, 4, 3, 5)
    options = {"stride": (2, 3), "padding": ((2, 2), (1, 1))}
    there = jnp.vdot(conv(image, kernel, **options), output)
    back = conv_transpose(output, kernel, out_size=(7, 9), **options)
    np.testing.assert_allclose(there, jnp.vdot(image, back), rtol=ROUNDING)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(5, 2, 2), (3, 1, 1), (4, 3, 0)]
)
def test_values_are_those_of_torch(rng, size, stride, padding):
    torch = pytest.importorskip("torch")
    x, kernel = draw(rng, 2, 9, 8, 3), draw(rng, size, size, 3, 6)

    def channels_first(a):
        return torch.from_numpy(np.array(a)).permute(0, 3, 1, 2)

    weight = torch.from_numpy(np.array(kernel)).permute(3, 2, 0, 1)
    options = {"stride": stride, "padding": padding}
    expected = torch.nn.functional.conv2d(channels_first(x), weight, **options)
    y = conv(x, kernel, stride=(stride, stride), padding=padding)
    close(y, expected.permute(0, 2, 3, 1).numpy())
    for more in range(stride):
        back = torch.nn.functional.conv_transpose2d(
            expected, weight, output_padding=more, **options
        )
        layer = ConvTranspose(
            3,
            (size, size),
            (stride, stride),
            padding,
            output_padding=more,
            use_bias=False,
        )
        found = jitted_apply(layer, {"params": {"kernel": kernel}}, y)
        close(found, back.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": (0, 1)}, "stride"),
        ({"stride": (1, 1, 1)}, "stride"),
        ({"padding": -1}, "number of zeros"),
        ({"padding": [(1, 1)]}, "two pairs"),
        ({"padding": "VALID"}, "does not fit"),
    ],
)
def test_what_cannot_be_says_so(rng, options, message):
    x, kernel = draw(rng, 2, 3, 3, 2), draw(rng, 5, 5, 2, 3)
    with pytest.raises(InputError, match=message):
        conv(x, kernel, **options)


def test_sizes_that_do_not_fit_say_so(rng):
    x, kernel = draw(rng, 2, 4, 4, 3), draw(rng, 3, 3, 2, 3)
    with pytest.raises(InputError, match=r"have 3 channels.*groups are not offered"):
        conv(x, kernel)
    with pytest.raises(InputError, match=r"out_size \(9, 8\).*has size \(5, 4\)"):
        conv_transpose(x, kernel, stride=(2, 2), out_size=(9, 8))
    with pytest.raises(InputError, match=r"output_padding 1 has no meaning"):
        jitted_init(ConvTranspose(2, output_padding=1), jax.random.key(0), x)
