"""Tests of `jaxlab.losses.tokens`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.losses.tokens import token_cross_entropy, token_sums, weighted_mean

# Float32 sums of a few numbers about 10, in another order.
ORDER_OF_SUMS = 1e-5


@pytest.fixture
def batch(rng):
    """Give logits (2, 3, 7) and labels (2, 3)."""
    logits = jnp.asarray(4 * rng.normal(size=(2, 3, 7)), jnp.float32)
    return logits, jnp.asarray(rng.integers(0, 7, (2, 3)), jnp.int32)


@pytest.mark.peer
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_values_and_gradients_are_those_of_torch(batch, smoothing):
    torch = pytest.importorskip("torch")
    logits, labels = batch
    theirs = torch.tensor(np.asarray(logits), requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        theirs.flatten(0, 1),
        torch.tensor(np.asarray(labels, np.int64)).flatten(),
        label_smoothing=smoothing,
        reduction="none",
    )
    loss.sum().backward()
    ours = token_cross_entropy(logits, labels, smoothing)
    np.testing.assert_allclose(
        ours.reshape(-1), loss.detach().numpy(), atol=ORDER_OF_SUMS
    )
    grad = jax.grad(lambda x: token_cross_entropy(x, labels, smoothing).sum())(logits)
    np.testing.assert_allclose(grad, theirs.grad.numpy(), atol=ORDER_OF_SUMS)


def test_large_logits_do_not_overflow():
    logits = jnp.array([[1e4, 0.0, -1e4]])
    loss = token_cross_entropy(logits, jnp.array([0]))
    np.testing.assert_array_equal(loss, [0.0])


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_smoothing_out_of_range_is_refused(batch, smoothing):
    with pytest.raises(InputError, match=r"must lie in \[0, 1\)"):
        token_cross_entropy(*batch, smoothing)


def test_only_what_has_weight_counts():
    values = jnp.array([[1.0, 100.0], [3.0, 100.0]])
    weights = jnp.array([[True, False], [True, False]])
    assert weighted_mean(values, weights) == 2
    assert weighted_mean(values, weights & False) == 0


def test_sums_over_rows_are_those_of_their_tokens(batch):
    logits, labels = batch
    weights = jnp.array([[True, True, False], [False, False, False]])
    sums = token_sums(logits, labels, weights)
    losses = token_cross_entropy(logits, labels)
    np.testing.assert_allclose(sums["loss"], [losses[0, :2].sum(), 0], rtol=1e-6)
    hits = np.asarray(logits.argmax(-1) == labels)
    np.testing.assert_array_equal(sums["token_accuracy"], [hits[0, :2].sum(), 0])
    np.testing.assert_array_equal(sums["tokens"], [2, 0])
