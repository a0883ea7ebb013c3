"""Tests of `jaxlab.losses.adversarial`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.losses.adversarial import (
    ADVERSARIAL_LOSSES,
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
)

# Float32 means of a few numbers below 100.
ROUNDING = 1e-6


def formulas(torch):
    """The losses as torch's users write them: of the critic, of the generator."""
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like, torch.zeros_like

    def cross_entropies(real, fake):
        return entropy(real, ones(real)) + entropy(fake, zeros(fake))

    return {
        "minimax": (cross_entropies, lambda fake: -entropy(fake, zeros(fake))),
        "non_saturating": (cross_entropies, lambda fake: entropy(fake, ones(fake))),
        "least_squares": (
            lambda real, fake: ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2,
            lambda fake: ((fake - 1) ** 2).mean() / 2,
        ),
        "hinge": (
            lambda real, fake: (
                torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()
            ),
            lambda fake: -fake.mean(),
        ),
        "wasserstein": (
            lambda real, fake: fake.mean() - real.mean(),
            lambda fake: -fake.mean(),
        ),
    }


@pytest.mark.peer
@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_values_and_gradients_are_those_of_torchs_formulas(name, rng):
    torch = pytest.importorskip("torch")
    critic, generator = formulas(torch)[name]
    real, fake = (3 * rng.normal(size=n).astype(np.float32) for n in (5, 7))
    their_real, their_fake = (torch.tensor(x, requires_grad=True) for x in (real, fake))

    def compare(ours, theirs, grads, inputs):
        theirs.backward()
        np.testing.assert_allclose(ours, theirs.item(), rtol=ROUNDING, atol=ROUNDING)
        for grad, tensor in zip(grads, inputs, strict=True):
            np.testing.assert_allclose(grad, tensor.grad.numpy(), atol=ROUNDING)

    value, grads = jax.value_and_grad(ADVERSARIAL_LOSSES[name].critic, (0, 1))(
        jnp.asarray(real), jnp.asarray(fake)
    )
    compare(value, critic(their_real, their_fake), grads, [their_real, their_fake])
    their_fake.grad = None
    value, grad = jax.value_and_grad(ADVERSARIAL_LOSSES[name].generator)(
        jnp.asarray(fake)
    )
    compare(value, generator(their_fake), [grad], [their_fake])


def test_the_best_discriminator_finds_the_jensen_shannon_divergence():
    # 20 rows that hold p = (.1, .2, .3, .4) and q = (.4, .3, .2, .1) exactly.
    p, q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    x, y = (np.repeat(np.arange(4), np.rint(20 * m).astype(int)) for m in (p, q))
    logits = np.log(p) - np.log(q)  # of D = p / (p + q)
    middle = (p + q) / 2
    divergence = (p @ np.log(p / middle) + q @ np.log(q / middle)) / 2
    best = minimax_discriminator(jnp.asarray(logits[x]), jnp.asarray(logits[y]))
    np.testing.assert_allclose(-best, 2 * divergence - 2 * np.log(2), rtol=ROUNDING)
    worse = minimax_discriminator(
        jnp.asarray(1.1 * logits[x]), jnp.asarray(1.1 * logits[y])
    )
    assert worse > best


def test_a_discriminator_that_cannot_tell_pays_two_log_two():
    zero = jnp.zeros(3)
    np.testing.assert_allclose(
        minimax_discriminator(zero, zero), 2 * np.log(2), rtol=ROUNDING
    )
    np.testing.assert_allclose(non_saturating_generator(zero), np.log(2), rtol=ROUNDING)
    np.testing.assert_allclose(minimax_generator(zero), -np.log(2), rtol=ROUNDING)


def test_a_sure_discriminator_stops_the_minimax_generator_alone():
    sure = jnp.array([-1e4])
    assert jax.grad(minimax_generator)(sure)[0] == 0
    assert jax.grad(non_saturating_generator)(sure)[0] == -1
    assert non_saturating_generator(sure) == 1e4


@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_scores_of_low_precision_are_averaged_in_float32(name):
    # In bfloat16 the mean of these would be 1 or 1.0078.
    scores = jnp.array([1.0, 1.0, 1.0, 1.0078125], jnp.bfloat16)
    wide = scores.astype(jnp.float32)
    loss = ADVERSARIAL_LOSSES[name]
    assert loss.generator(scores).dtype == jnp.float32
    assert loss.generator(scores) == loss.generator(wide)
    assert loss.critic(scores, scores[:2]) == loss.critic(wide, wide[:2])
