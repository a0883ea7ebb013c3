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
from jaxlab.metrics.feature_distances import (
    Moments,
    check_features,
    frechet_distance,
    kernel_distance,
    moments_of,
)
from jaxlab.metrics.sample_precision import precision_recall

__all__ = [
    "INCEPTION",
    "SCORES",
    "Embedded",
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
        accuracy: Share of held-out samples that it names right, if that was measured.
    """

    name: str
    embed: Callable[[Any], tuple[Any, Any]]
    accuracy: float | None = None

    def __str__(self) -> str:
        if self.accuracy is None:
            return self.name
        return f"{self.name}, {100 * self.accuracy:.1f} % of held-out samples right"


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


class Embedded(NamedTuple):
    """What a network makes of samples.

    Attributes:
        features: (n, j).
        probabilities: Of each sample's classes, (n, v), or None.
    """

    features: np.ndarray
    probabilities: np.ndarray | None


class SampleScorer:
    """Scores any number of generators beside one set of real samples.

    Those are embedded once, and their moments are taken once, when first needed.
    """

    def __init__(self, features: Features, real: Any, *, batch_size: int = 256) -> None:
        """Embed the real samples.

        Args:
            features: The network.
            real: Samples, (n, ...).
            batch_size: Samples embedded at a time; the last batch is filled up.

        Raises:
            InputError: If the features are not finite.
        """
        self.features, self._batch_size = features, batch_size
        (self._real,) = check_features(1, real=self.embed(real).features)

    def __call__(
        self, generated: Any, *, scores: Collection[str] = SCORES
    ) -> dict[str, float]:
        """Score samples of one generator.

        Args:
            generated: Samples, (m, ...), of the real ones' shape and range, or what
                `embed` gave of them.
            scores: Which of `SCORES`.

        Returns:
            Of `SCORES` those asked for, by names that tell the network's unless it is
            Inception: `fid`; `kid` and `kid_std`; `inception_score` and
            `inception_score_std`, where the network knows classes; `precision`,
            `recall`, `density` and `coverage`, which name Inception too, for their
            papers take another network. And `num_real` and `num_generated`, without
            which none of them means much.

        Raises:
            InputError: If a score is unknown, there are too few samples, or their
                features are not finite.
        """
        if unknown := sorted(set(scores) - set(SCORES)):
            raise InputError(
                f"unknown scores {', '.join(unknown)}; known are {', '.join(SCORES)}"
            )
        if not isinstance(generated, Embedded):
            generated = self.embed(generated)
        real, rows = check_features(1, real=self._real, generated=generated.features)
        found: dict[str, float] = {}
        if "fid" in scores:
            found["fid"] = frechet_distance(self._moments, moments_of(rows))
        if "kid" in scores:
            found["kid"], found["kid_std"] = kernel_distance(real, rows)
        if "inception_score" in scores and generated.probabilities is not None:
            score = inception_score(generated.probabilities)
            found["inception_score"], found["inception_score_std"] = score
        name = self.features.name
        if name != INCEPTION:
            found = {f"{score}_{name}": value for score, value in found.items()}
        if "precision_recall" in scores:
            shares = precision_recall(real, rows)
            found |= {f"{score}_{name}": value for score, value in shares.items()}
        return {**found, "num_real": float(len(real)), "num_generated": len(rows) * 1.0}

    def embed(self, samples: Any) -> Embedded:
        """Embed by batches of one size: the network is compiled once.

        Raises:
            InputError: If there are no samples.
        """
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
            return Embedded(rows, None)
        classes = np.concatenate([np.asarray(part) for _, part in found])
        return Embedded(rows, classes[: len(samples)])

    @functools.cached_property
    def _moments(self) -> Moments:
        return moments_of(self._real)


def sample_scores(
    features: Features,
    real: Any,
    generated: Any,
    *,
    scores: Collection[str] = SCORES,
    batch_size: int = 256,
) -> dict[str, float]:
    """Score the samples of one generator: `SampleScorer(features, real)(generated)`.

    Args:
        features: The network.
        real: Samples, (n, ...).
        generated: Samples, (m, ...).
        scores: Which of `SCORES`.
        batch_size: Samples embedded at a time.

    Returns:
        As `SampleScorer.__call__`.

    Raises:
        InputError: As `SampleScorer`.
    """
    scorer = SampleScorer(features, real, batch_size=batch_size)
    return scorer(generated, scores=scores)
