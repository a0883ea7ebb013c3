"""Tests of `jaxlab.models.gan.make` that need no other library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError, check_choice
from jaxlab.core.model import SPECTRAL, from_linen
from jaxlab.losses.lipschitz import critic_of_rows, gradient_norms, gradient_penalty
from jaxlab.models.gan.dense import MaxoutCritic, PointCritic, PointGenerator
from jaxlab.models.gan.make import GANS, make_gan
from jaxlab.models.gan.parts import (
    CriticHead,
    ImageNorm,
    NormKind,
    base_of,
)
from tests.jitted import jitted_apply, jitted_init

ROWS, CLASSES = 4, 3
CONVOLUTIONAL = ["dcgan", "cnn", "sngan_cnn", "resnet", "sngan"]


def shapes_of(network, x, *labels):
    """Give the shapes of outputs, parameters and state."""
    model = from_linen(network)

    def run(key, x, *labels):
        params, state = model.init(key, x, *labels)
        return *model.apply(params, state, x, *labels), params

    return jax.eval_shape(run, jax.random.key(0), x, *labels)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (48, 48, 3), (64, 32, 3)])
@pytest.mark.parametrize("name", [*CONVOLUTIONAL, "mlp", "maxout"])
def test_all_sizes_of_images(name, shape):
    gan = make_gan(name, shape, width=8, latent_dim=5)
    images, *_ = shapes_of(gan.generator, jnp.zeros((ROWS, 5)))
    scores, *_ = shapes_of(gan.critic, jnp.zeros((ROWS, *shape)))
    assert images.shape == (ROWS, *shape)
    assert scores.shape == (ROWS,)
    assert images.dtype == scores.dtype == jnp.float32


@pytest.mark.parametrize(
    ("side", "base", "doublings"),
    [(8, 4, 1), (14, 7, 1), (16, 4, 2), (28, 7, 2), (32, 4, 3), (48, 6, 3), (64, 4, 4)],
)
def test_images_are_doubled_from_four_to_seven_rows(side, base, doublings):
    assert base_of((side, side, 3)) == (base, base, doublings)


@pytest.mark.parametrize("shape", [(7, 7, 1), (4, 4, 1), (30, 30, 1), (8, 9, 1)])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_sizes_that_do_not_double_are_refused(name, shape):
    message = f"{shape[0]} x {shape[1]} cannot be made .* side of 8, 16, 28"
    with pytest.raises(InputError, match=message):
        make_gan(name, shape)
    network = make_gan(name, (8, 8, 1), width=4).critic
    with pytest.raises(InputError, match=message):
        shapes_of(network, jnp.zeros((2, *shape)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "biggan"}, "'biggan' is not one of mlp, maxout, point, dcgan"),
        ({"shape": (8, 8)}, r"shape \(8, 8\) must be \(rows, columns, channels\)"),
        ({"name": "point"}, r"of 'point' must be \(coordinates,\)"),
        ({"name": "mlp", "shape": (8,)}, r"of 'mlp' must be \(rows, columns"),
        ({"width": 0}, "must be at least 1, not 0"),
        ({"name": "mlp", "norm": "layer"}, "'mlp' has no norm"),
        ({"conditional": "acgan"}, "num_classes of 2 or more, not 0"),
        ({"name": "maxout", "conditional": "acgan"}, "'maxout' has no classes"),
    ],
)
def test_what_there_is_not_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_gan(**{"name": "dcgan", "shape": (8, 8, 1), **arguments})


def test_parts_check_what_they_are_given():
    rows = jnp.zeros((2, 4))
    with pytest.raises(InputError, match="norm 'group' is not one of batch, layer, no"):
        check_choice("norm", "group", NormKind)
    with pytest.raises(InputError, match="'acgan' needs num_classes of 2 or more"):
        shapes_of(CriticHead("acgan"), rows)
    with pytest.raises(InputError, match="projection critic needs labels"):
        shapes_of(CriticHead("projection", 3), rows)
    gan = make_gan("mlp", (8, 8, 1), conditional="acgan", num_classes=3)
    with pytest.raises(InputError, match="3 classes needs labels"):
        shapes_of(gan.generator, rows)


@pytest.mark.parametrize("network", [PointGenerator, PointCritic])
@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("width", 0, "at least 1"),
        ("depth", -1, "at least 1"),
        ("max_bias", -1.0, "(a finite number )?at least 0"),
        ("max_bias", float("nan"), "(a finite number )?at least 0"),
    ],
)
def test_networks_of_points_refuse_sizes_that_are_none(network, field, value, rule):
    with pytest.raises(InputError, match=f"{field} {value} must be {rule}"):
        shapes_of(network(**{field: value}), jnp.zeros((2, 2)))


def test_points_are_not_made_of_nothing():
    with pytest.raises(InputError, match="latent_dim 0 must be at least 1"):
        shapes_of(PointGenerator(), jnp.zeros((2, 0)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in GANS if n != "point"])
def test_images_lie_between_minus_one_and_one_and_differ(name, key):
    gan = make_gan(name, (8, 8, 3), width=16)
    generator = from_linen(gan.generator)
    keys = jax.random.split(key)
    z = gan.sample_latents(keys[0], 16)

    @jax.jit
    def images_of(key, z):
        params, state = generator.init(key, z)
        return generator.apply(params, state, z, train=True)[0]

    images = np.asarray(images_of(keys[1], z))
    assert images.dtype == np.float32
    assert np.abs(images).max() <= 1
    # Another image for another latent row, another pixel beside a pixel. (The first
    # weights of maxout are small.)
    assert images.std(0).max() > 1e-5
    assert images.std((1, 2)).max() > 1e-5


@pytest.mark.parametrize("name", ["dcgan", "maxout"])
def test_latents_have_mean_zero_and_variance_one(name, key):
    gan = make_gan(name, (8, 8, 1), latent_dim=7)
    z = np.asarray(gan.sample_latents(key, 4000))
    assert z.shape == (4000, 7)
    # Within five errors of 28000 numbers.
    assert abs(z.mean()) < 5 / 28000**0.5
    assert abs(z.var() - 1) < 5 * (2 / 28000) ** 0.5
    assert (np.abs(z).max() < 3**0.5) == (name == "maxout")


def test_widths_keep_the_papers_proportion():
    gan = make_gan("sngan", (8, 8, 1), width=32)
    assert (gan.generator.width, gan.critic.width) == (32, 16)
    assert make_gan("sngan", (8, 8, 1), critic_width=32).generator.width == 256


def test_spectral_norms_take_the_place_of_batch_norms():
    assert make_gan("dcgan", (8, 8, 1), spectral=True).critic.norm == "none"
    both = make_gan("dcgan", (8, 8, 1), spectral=True, norm="batch").critic
    assert (both.norm, both.spectral) == ("batch", True)


def test_the_state_of_spectral_critics_is_spectral_alone():
    images = jnp.zeros((ROWS, 8, 8, 1))
    for name in ("dcgan", "cnn", "resnet"):
        critic = from_linen(make_gan(name, (8, 8, 1), width=4, spectral=True).critic)
        _, state = jax.eval_shape(critic.init, jax.random.key(0), images)
        assert set(state) == {SPECTRAL}


def test_a_generator_of_sngan_has_chainers_eps():
    assert make_gan("sngan", (32, 32, 3)).generator.norm_eps == 2e-5


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("conditional", ["acgan", "projection"])
def test_conditional_networks_have_a_row_for_each_class(name, conditional):
    gan = make_gan(
        name, (8, 8, 1), width=8, conditional=conditional, num_classes=CLASSES
    )
    labels = jnp.arange(ROWS) % CLASSES
    z = jnp.zeros((ROWS, gan.latent_dim))
    images, _, params = shapes_of(gan.generator, z, labels)
    scales = [
        leaf.shape[0]
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "scale" and leaf.ndim == 2
    ]
    assert scales
    assert set(scales) == {CLASSES}
    outputs, *_ = shapes_of(gan.critic, jnp.zeros(images.shape), labels)
    if conditional == "acgan":
        outputs, logits = outputs
        assert logits.shape == (ROWS, CLASSES)
    assert outputs.shape == (ROWS,)


@pytest.fixture
def images(rng):
    """Give images of 8 x 8."""
    return jnp.asarray(rng.uniform(-1, 1, (ROWS, 8, 8, 3)), jnp.float32)


def test_a_penalised_critic_with_batch_statistics_is_refused(key):
    images = jnp.zeros((ROWS, 16, 16, 3))
    critic = from_linen(make_gan("dcgan", (16, 16, 3), width=4).critic)
    params, state = jax.jit(critic.init)(key, images)
    with pytest.raises(InputError, match="batch_stats: with batch statistics every"):
        critic_of_rows(critic, params, state)


PENALISED = {
    "dcgan": {"norm": "layer"},
    "dcgan_sn": {"spectral": True},
    "cnn": {},
    "resnet": {"norm": "layer"},
    "sngan": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", PENALISED)
def test_critics_for_penalties_score_each_row_alone(case, images, key):
    name = case.split("_")[0]
    gan = make_gan(name, (8, 8, 3), critic_width=8, **PENALISED[case])
    critic = from_linen(gan.critic)
    keys = jax.random.split(key)
    params, state = jax.jit(critic.init)(keys[0], images)
    assert set(state) <= {SPECTRAL}

    @jax.jit
    def measure(params, key):
        f = critic_of_rows(critic, params, state)
        fake = images[::-1]

        def penalty(params):
            return gradient_penalty(
                critic_of_rows(critic, params, state), images, fake, key
            )

        rows = jnp.concatenate([f(images[:1]), f(images[1:])])
        norms = gradient_norms(f, images)
        return f(images), rows, norms, jax.value_and_grad(penalty)(params)

    scores, alone, norms, (penalty, grads) = measure(params, keys[1])
    np.testing.assert_allclose(scores, alone, rtol=1e-4, atol=1e-6)
    assert (norms > 0).all()
    assert np.isfinite(penalty)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_a_layer_norm_of_images_is_over_the_image(images):
    norm = from_linen(ImageNorm("layer"))
    out, _ = norm.apply(*jitted_init(norm, jax.random.key(0), images), images)
    np.testing.assert_allclose(out.mean((1, 2, 3)), np.zeros(ROWS), atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2, 3)), np.ones(ROWS), rtol=1e-4)


def test_maxout_drops_while_training(key):
    critic = from_linen(MaxoutCritic(width=16))
    keys = jax.random.split(key, 4)
    x = jax.random.uniform(keys[0], (ROWS, 8, 8, 1), minval=-1.0)
    params, state = jitted_init(critic, keys[1], x)
    still, _ = jitted_apply(critic, params, state, x)
    first, _ = jitted_apply(critic, params, state, x, key=keys[2], train=True)
    second, _ = jitted_apply(critic, params, state, x, key=keys[3], train=True)
    assert not np.allclose(first, second)
    assert not np.allclose(first, still)
