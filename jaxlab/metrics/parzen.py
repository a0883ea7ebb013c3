"""The Parzen window: how likely data are under a Gaussian around each sample.

The score of the first GAN paper, kept to compare with it. It ranks models of images
badly (Theis et al. 2016, https://arxiv.org/abs/1511.01844, section 3.3): sharp samples
of a few modes lose to blurred means.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.transport.measures import check_numbers

__all__ = ["SIGMAS", "choose_sigma", "parzen_log_likelihood", "parzen_scores"]

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())  # of the authors' script
_Rows = Float[Array | np.ndarray, "..."]  # rows first, of any shape
_ROWS, _SAMPLES = 256, 2048  # of a block of distances


def parzen_log_likelihood(
    rows: _Rows, samples: _Rows, sigma: float
) -> Float[np.ndarray, " n"]:
    r"""Give each row's log density, in nats.

    $\log mean_k \exp(-|x - \mu_k|^2 / 2 \sigma^2) - d \log (\sigma \sqrt{2 \pi})$ of
    samples $\mu_k$ of d numbers. Squared distances are taken in float32 around the
    samples' mean, and the logarithm of the sum block by block: rows times samples are
    never held.

    Args:
        rows: Data, (n, ...).
        samples: What the generator made, (m, ...); the authors take 10,000.
        sigma: The standard deviation of each window.

    Raises:
        InputError: If there is no row, one is not finite, shapes differ, or sigma is
            not positive.

    References:
        Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 5, and
        `parzen_ll.py` of https://github.com/goodfeli/adversarial.
        Breuleux, Bengio and Vincent 2011.
    """
    return _of_sigmas(rows, samples, (sigma,))[:, 0]


def choose_sigma(
    rows: _Rows, samples: _Rows, sigmas: Sequence[float] = SIGMAS
) -> float:
    """Give the sigma under which data held out of training and test are likeliest.

    Raises:
        InputError: As `parzen_log_likelihood`, or if there is no sigma.
    """
    means = _of_sigmas(rows, samples, sigmas).mean(0)
    return float(sigmas[int(means.argmax())])


def parzen_scores(
    samples: _Rows, valid: _Rows, test: _Rows, sigmas: Sequence[float] = SIGMAS
) -> dict[str, float]:
    """Score a generator as the authors' script does.

    Args:
        samples: What the generator made.
        valid: Data that choose sigma.
        test: Data that are scored.
        sigmas: To choose from.

    Returns:
        `parzen_ll`: the mean log-likelihood of the test rows in nats; `parzen_se`: its
        standard error over rows; `parzen_sigma`: the one chosen.

    Raises:
        InputError: As `choose_sigma`.
    """
    sigma = choose_sigma(valid, samples, sigmas)
    found = parzen_log_likelihood(test, samples, sigma)
    return {
        "parzen_ll": float(found.mean()),
        "parzen_se": float(found.std() / np.sqrt(len(found))),
        "parzen_sigma": sigma,
    }


def _of_sigmas(rows: Any, samples: Any, sigmas: Sequence[float]) -> np.ndarray:
    """Give log densities for each row and sigma, from one set of distances."""
    if len(sigmas) == 0 or not all(0 < sigma < np.inf for sigma in sigmas):
        raise InputError(
            f"sigma {tuple(sigmas)} must be positive; the authors choose among 10 "
            "from 0.1 to 1"
        )
    if rows.shape[1:] != samples.shape[1:] or rows.ndim < 2:
        raise InputError(
            f"data of shape {rows.shape} and samples of {samples.shape} must be rows "
            "of the same shape"
        )
    if rows.size == 0 or samples.size == 0:
        raise InputError(
            f"{len(rows)} rows and {len(samples)} samples: there must be one of each"
        )
    check_numbers(rows=rows, samples=samples)
    points, centers = (np.asarray(given, np.float64) for given in (rows, samples))
    points, centers = points.reshape(len(rows), -1), centers.reshape(len(samples), -1)
    middle = centers.mean(0)
    steps = jnp.asarray(_blocks(centers - middle, _SAMPLES))
    count, width = centers.shape
    scales = np.asarray(sigmas, np.float64)
    sums = [
        np.asarray(_log_sums(jnp.asarray(block), steps, count, jnp.asarray(scales)))
        for block in _blocks(points - middle, _ROWS)
    ]
    total = np.concatenate(sums)[: len(points)].astype(np.float64)
    return total - np.log(count) - width * np.log(scales * np.sqrt(2 * np.pi))


def _blocks(rows: np.ndarray, size: int) -> np.ndarray:
    """Cut rows into blocks of one size, the last filled with zeros."""
    size = min(size, len(rows))
    num = -(-len(rows) // size)
    filled = np.zeros((num * size, rows.shape[1]), np.float32)
    filled[: len(rows)] = rows
    return filled.reshape(num, size, -1)


@jax.jit
def _log_sums(
    rows: Float[Array, "n d"],
    blocks: Float[Array, "g m d"],
    count: int | Array,
    sigmas: Float[Array, " s"],
) -> Float[Array, "n s"]:
    """Give log sum exp over the first `count` samples of all blocks."""
    scale = -0.5 / sigmas**2
    size = blocks.shape[1]

    def add(total: Array, numbered: tuple[Array, Array]) -> tuple[Array, None]:
        number, block = numbered
        products = jnp.matmul(rows, block.T, precision=jax.lax.Precision.HIGHEST)
        squares = (rows**2).sum(1)[:, None] + (block**2).sum(1)[None, :] - 2 * products
        is_there = number * size + jnp.arange(size) < count
        squares = jnp.where(is_there[None, :], jnp.maximum(squares, 0), jnp.inf)
        terms = [jax.nn.logsumexp(squares * s, axis=1) for s in scale]
        return jnp.logaddexp(total, jnp.stack(terms, axis=1)), None

    start = jnp.full((len(rows), len(sigmas)), -jnp.inf, rows.dtype)
    numbers = jnp.arange(len(blocks))
    return jax.lax.scan(add, start, (numbers, blocks))[0]
