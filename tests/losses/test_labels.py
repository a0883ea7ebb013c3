"""One loss of hard and soft labels, beside torch's."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.losses.labels import label_cross_entropy

torch = pytest.importorskip("torch")

TOLERANCE = 2e-6


@pytest.mark.peer
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_soft", [False, True])
def test_it_is_that_of_torch(rng, smoothing, is_soft):
    logits = rng.normal(size=(5, 7)).astype(np.float32)
    labels = rng.integers(0, 7, 5)
    if is_soft:
        labels = rng.dirichlet(np.ones(7), 5).astype(np.float32)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits),
        torch.tensor(labels),
        label_smoothing=smoothing,
        reduction="none",
    )
    found = label_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing)
    np.testing.assert_allclose(found, expected, TOLERANCE, TOLERANCE)


def test_a_share_or_a_shape_that_cannot_be_is_refused():
    logits = jnp.zeros((2, 3))
    with pytest.raises(InputError, match=r"smoothing 1.0 must lie in \[0, 1\)"):
        label_cross_entropy(logits, jnp.zeros(2, jnp.int32), 1.0)
    with pytest.raises(InputError, match=r"\(2, 4\) do not fit logits of \(2, 3\)"):
        label_cross_entropy(logits, jnp.zeros((2, 4)))
