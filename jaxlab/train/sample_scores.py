"""Scores of generated samples by the features of a network, which gives them its name.

A number of one network says nothing beside that of another. So only Inception's weights
of 2015 give "fid", "kid" and "inception_score"; every other network's name is part of
the score's: "fid_digits_classifier".
"""

import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float
from jaxlab.train.feature_distances import (
    Moments,
    check_features,
    frechet_distance,
    kernel_distance,
    kernel_within,
    moments_of,
)
from jaxlab.train.precision_recall import Balls, balls_of, precision_recall

__all__ = [
    "INCEPTION",
    "SCORES",
    "Features",
    "SampleScorer",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "precision_recall",
    "sample_scores",
]

INCEPTION = "inception"  # the name of the network whose scores need no name
SCORES = ("fid", "kid", "inception_score", "precision_recall")


class Features(NamedTuple):
    """A network that embeds samples.

    Attributes:
        name: Part of the scores' names; `INCEPTION` for the weights of 2015 alone.
        embed: Gives of a batch of samples, most often uint8 images, their features,
            (b, j), and their class probabilities, (b, v), or None where it knows none.
    """

    name: str
    embed: Callable[[Any], tuple[Any, Any]]


def inception_score(
    probabilities: Float[Array | np.ndarray, "n v"], *, splits: int = 10
) -> tuple[float, float]:
    r"""Give mean and standard deviation over parts of $\exp E\, KL(p(y|x) | p(y))$.

    From 1, if all samples look alike to the network, up to the number of classes, if
    it is sure of each and all classes are as frequent.

    Args:
        probabilities: Of each sample's classes; samples in random order.
        splits: Parts, in the order of the rows. The score grows with the rows of a
            part: the literature's is of ten parts of 5000.

    Raises:
        InputError: If rows are no probabilities, or there are fewer than parts.

    References:
        Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 4.
    """
    if not 1 <= splits <= len(probabilities):
        raise InputError(
            f"{len(probabilities)} rows cannot be cut into {splits} parts; make more "
            "samples or fewer parts"
        )
    (given,) = check_features(1, probabilities=probabilities)
    rows = given.astype(np.float64)
    sums = rows.sum(1)
    if rows.min() < 0 or abs(sums - 1).max() > 1e-2:  # bfloat16 sums that badly
        raise InputError(
            f"probabilities from {rows.min():.4g} with sums from {sums.min():.4g} to "
            f"{sums.max():.4g} must be of at least 0 and sum to 1; take the softmax"
        )
    rows /= sums[:, None]
    n, scores = len(rows), []
    for part in range(splits):
        block = rows[part * n // splits : (part + 1) * n // splits]
        # E KL is the entropy of the mean less the mean entropy.
        mean = block.mean(0, keepdims=True)
        scores.append(np.exp(_entropy(mean).mean() - _entropy(block).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


class SampleScorer:
    """Scores any number of generators beside one set of real samples.

    What depends on the real samples alone is computed once, when first needed.
    """

    def __init__(
        self,
        features: Features,
        real: Any,
        *,
        scores: Collection[str] = SCORES,
        batch_size: int = 256,
        splits: int = 10,
        subsets: int = 100,
        subset_size: int = 1000,
        neighbors: int = 3,
        density_neighbors: int = 5,
    ) -> None:
        """Embed the real samples.

        Args:
            features: The network.
            real: Samples, (n, ...).
            scores: Which of `SCORES`.
            batch_size: Samples embedded at a time; the last batch is filled up.
            splits: Of `inception_score`.
            subsets: Of `kernel_distance`.
            subset_size: Of `kernel_distance`.
            neighbors: Of `precision_recall`.
            density_neighbors: Of `precision_recall`.

        Raises:
            InputError: If a score is unknown or the features are not finite.
        """
        if unknown := sorted(set(scores) - set(SCORES)):
            raise InputError(
                f"unknown scores {', '.join(unknown)}; known are {', '.join(SCORES)}"
            )
        self.features, self.scores = features, set(scores)
        self._batch_size, self._splits = batch_size, splits
        self._subsets, self._subset_size = subsets, subset_size
        self._neighbors = (neighbors, density_neighbors)
        self._within: dict[int, np.ndarray] = {}
        (self._real,) = check_features(1, real=self._embed(real)[0])

    def __call__(
        self, generated: Any, *, scores: Collection[str] | None = None
    ) -> dict[str, float]:
        """Score samples of one generator.

        Args:
            generated: Samples, (m, ...), of the real ones' shape and range.
            scores: Which of `SCORES`; None: those of the start.

        Returns:
            Of `SCORES` those asked for, by names that tell the network's unless it is
            Inception: `fid`; `kid` and `kid_std`; `inception_score` and
            `inception_score_std`, where the network knows classes; `precision`,
            `recall`, `density` and `coverage`, which name Inception too, for their
            papers take another network. And `num_real` and `num_generated`, without
            which none of them means much.

        Raises:
            InputError: If there are too few samples, or their features are not finite.
        """
        wanted = self.scores if scores is None else set(scores)
        rows, probabilities = self._embed(generated)
        real, rows = check_features(1, real=self._real, generated=rows)
        found: dict[str, float] = {}
        if "fid" in wanted:
            found["fid"] = frechet_distance(self._moments, moments_of(rows))
        if "kid" in wanted:
            found["kid"], found["kid_std"] = self._kernel_distance(rows)
        if "inception_score" in wanted and probabilities is not None:
            score = inception_score(probabilities, splits=self._splits)
            found["inception_score"], found["inception_score_std"] = score
        name = self.features.name
        if name != INCEPTION:
            found = {f"{score}_{name}": value for score, value in found.items()}
        if "precision_recall" in wanted:
            k, density_k = self._neighbors
            shares = precision_recall(
                self._balls, rows, neighbors=k, density_neighbors=density_k
            )
            found |= {f"{score}_{name}": value for score, value in shares.items()}
        return {**found, "num_real": float(len(real)), "num_generated": len(rows) * 1.0}

    def _embed(self, samples: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Embed by batches of one size: the network is compiled once."""
        if len(samples) == 0:
            raise InputError(
                "there are no samples to score; make at least some hundreds"
            )
        size, found = min(self._batch_size, len(samples)), []
        for start in range(0, len(samples), size):
            # The last row fills the last batch.
            numbers = np.minimum(np.arange(start, start + size), len(samples) - 1)
            found.append(self.features.embed(samples[numbers]))
        rows = np.concatenate([np.asarray(part) for part, _ in found])[: len(samples)]
        if found[0][1] is None:
            return rows, None
        classes = np.concatenate([np.asarray(part) for _, part in found])
        return rows, classes[: len(samples)]

    @functools.cached_property
    def _moments(self) -> Moments:
        return moments_of(self._real)

    @functools.cached_property
    def _balls(self) -> Balls:
        return balls_of(self._real, self._neighbors)

    def _kernel_distance(self, rows: np.ndarray) -> tuple[float, float]:
        check_features(4, real=self._real, generated=rows)
        size = min(self._subset_size, len(self._real) // 2, len(rows) // 2)
        if size not in self._within:
            self._within[size] = kernel_within(self._real, size, self._subsets, 0, 0)
        return kernel_distance(
            self._real,
            rows,
            subsets=self._subsets,
            subset_size=size,
            real_within=self._within[size],
        )


def sample_scores(
    features: Features, real: Any, generated: Any, **options: Any
) -> dict[str, float]:
    """Score the samples of one generator: `SampleScorer(features, real)(generated)`.

    Args:
        features: The network.
        real: Samples, (n, ...).
        generated: Samples, (m, ...).
        options: Of `SampleScorer`.

    Returns:
        As `SampleScorer.__call__`.

    Raises:
        InputError: As `SampleScorer`.
    """
    return SampleScorer(features, real, **options)(generated)
