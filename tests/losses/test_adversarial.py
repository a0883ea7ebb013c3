"""Tests of `jaxlab.losses.adversarial`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.model import SPECTRAL, Model
from jaxlab.losses.adversarial import (
    ADVERSARIAL_LOSSES,
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
    score_both,
    wasserstein_critic,
)
from jaxlab.transport.exact import wasserstein

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


@pytest.mark.parametrize("shift", [1.0, -0.5, 0.01, 0.0])
def test_parallel_lines_are_near_for_wasserstein_alone(shift, rng):
    """Arjovsky et al. 2017, example 1: W1 = |shift|, JS = log 2 unless it is 0."""
    heights = rng.random(20)
    x = np.stack([np.zeros(20), heights], axis=1)
    y = np.stack([np.full(20, shift), rng.permutation(heights)], axis=1)
    assert wasserstein(x, y) == pytest.approx(abs(shift), abs=1e-12)
    # The critic that is linear across the lines finds it.
    slope = -np.sign(shift)
    estimate = -wasserstein_critic(
        jnp.asarray(slope * x[:, 0]), jnp.asarray(slope * y[:, 0])
    )
    np.testing.assert_allclose(estimate, abs(shift), rtol=ROUNDING)
    # The best discriminator is sure of each line, or cannot tell one from itself.
    logits = jnp.full(20, 100.0 if shift else 0.0)
    divergence = np.log(2) - minimax_discriminator(logits, -logits) / 2
    np.testing.assert_allclose(divergence, np.log(2) if shift else 0, atol=ROUNDING)


def rows_and_labels(key):
    first, second = jax.random.split(key)
    return jax.random.normal(first, (4, 3)), jax.random.normal(second, (4, 3))


def counting_critic(state_name):
    """A critic whose state counts its calls, and whose outputs tell rows and labels."""

    def apply(params, model_state, x, labels, *, key=None, train=False):
        calls = model_state[state_name] + train
        return (x.sum(1) * params, labels), {state_name: calls}

    return Model(lambda key, *inputs: None, apply)


@pytest.mark.parametrize(("state_name", "calls"), [(SPECTRAL, 1), ("batch_stats", 2)])
def test_real_and_fake_rows_share_a_pass_unless_batches_matter(key, state_name, calls):
    real, fake = rows_and_labels(key)
    labels = jnp.arange(4)
    of_real, of_fake, state = score_both(
        counting_critic(state_name), 2.0, {state_name: 0}, real, fake, labels
    )
    assert state == {state_name: calls}
    np.testing.assert_allclose(of_real[0], 2 * real.sum(1), rtol=1e-6)
    np.testing.assert_allclose(of_fake[0], 2 * fake.sum(1), rtol=1e-6)
    np.testing.assert_array_equal(of_real[1], labels)
    np.testing.assert_array_equal(of_fake[1], labels)


def test_real_and_fake_rows_must_be_as_many(key):
    real, fake = rows_and_labels(key)
    critic = counting_critic(SPECTRAL)
    with pytest.raises(InputError, match=r"\(4, 3\).*\(2, 3\).*as many"):
        score_both(critic, 1.0, {SPECTRAL: 0}, real, fake[:2], jnp.arange(4))
