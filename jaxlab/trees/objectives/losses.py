"""Losses of one row, `loss(raw, target)`, and links from raw scores to predictions.

A built-in objective is nothing but one of these: derivatives come from JAX, so that a
loss that a user writes with the same formula trains the same model, bit for bit. The
factors follow XGBoost. Losses with settings are frozen dataclasses: equal settings
share compiled programs.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxlab.core.typing import Array, Float, Num, Scalar

__all__ = [
    "LINKS",
    "Focal",
    "Pinball",
    "PseudoHuber",
    "Tweedie",
    "absolute",
    "absolute_below",
    "exp",
    "exponential",
    "gamma",
    "huber",
    "identity",
    "logistic",
    "poisson",
    "sigmoid",
    "sigmoid_of_double",
    "softmax",
    "softmax_loss",
    "squared",
]


def squared(raw: Scalar, target: Scalar) -> Scalar:
    """Half the squared error."""
    return 0.5 * jnp.square(raw - target)


def absolute(raw: Scalar, target: Scalar) -> Scalar:
    """The absolute error; its slope is 0 where raw equals target, as in XGBoost."""
    return jnp.abs(raw - target)


def absolute_below(raw: Scalar, target: Scalar) -> Scalar:
    """The absolute error; its slope is -1 where raw equals target (scikit-learn)."""
    return jnp.where(raw > target, raw - target, target - raw)


def logistic(raw: Scalar, target: Scalar) -> Scalar:
    """Cross-entropy in nats of a target in [0, 1] and the log odds `raw`."""
    return jax.nn.softplus(raw) - target * raw


def softmax_loss(raw: Float[Array, " v"], target: Scalar) -> Scalar:
    """Cross-entropy in nats of the class `target` and unnormalised log probabilities.

    The score of the class is picked by a mask: indexing would be undone by a scatter.
    """
    is_class = jnp.arange(raw.shape[0]) == target.astype(jnp.int32)
    return jax.nn.logsumexp(raw) - jnp.sum(jnp.where(is_class, raw, 0.0))


def exponential(raw: Scalar, target: Scalar) -> Scalar:
    """AdaBoost's loss (Friedman, Hastie and Tibshirani 2000) of a target 0 or 1."""
    return jnp.exp(-(2.0 * target - 1.0) * raw)


def poisson(raw: Scalar, target: Scalar) -> Scalar:
    """Negative log-likelihood of a count with mean exp(raw), without constants."""
    return jnp.exp(raw) - target * raw


def gamma(raw: Scalar, target: Scalar) -> Scalar:
    """Negative log-likelihood by mean exp(raw), shape 1, without constants."""
    return raw + target * jnp.exp(-raw)


def huber(raw: Scalar, target: Scalar, delta: Scalar) -> Scalar:
    """Friedman's M (2001, equation 23): squared up to an error of delta, linear on."""
    error = jnp.abs(raw - target)
    return jnp.where(
        error <= delta, 0.5 * jnp.square(error), delta * (error - 0.5 * delta)
    )


@dataclasses.dataclass(frozen=True)
class PseudoHuber:
    """Squared near the target, of slope `slope` far from it (Charbonnier et al. 1994).

    Attributes:
        slope: In units of the target, above 0.
    """

    slope: float = 1.0

    def __call__(self, raw: Scalar, target: Scalar) -> Scalar:
        """Give the loss of one row."""
        z = (raw - target) / self.slope
        return self.slope**2 * (jnp.sqrt(1.0 + jnp.square(z)) - 1.0)


@dataclasses.dataclass(frozen=True)
class Pinball:
    """The quantile loss (Koenker and Bassett 1978), summed over one output a level.

    Attributes:
        alphas: Levels in (0, 1), one an output.
        slope_at_target: What counts where raw equals target: `above`, 1 - alpha, as in
            XGBoost, or `below`, -alpha, as in scikit-learn.
    """

    alphas: tuple[float, ...]
    slope_at_target: str = "above"

    def __call__(self, raw: Float[Array, "*v"], target: Scalar) -> Scalar:
        """Give the loss of one row."""
        alpha = jnp.asarray(self.alphas, raw.dtype).reshape(raw.shape)
        rest = jnp.asarray([1.0 - a for a in self.alphas], raw.dtype)
        error = raw - target
        is_above = error >= 0 if self.slope_at_target == "above" else error > 0
        above = rest.reshape(raw.shape) * error
        return jnp.sum(jnp.where(is_above, above, -alpha * error))


@dataclasses.dataclass(frozen=True)
class Tweedie:
    """Negative Tweedie log-likelihood by mean exp(raw), without constants.

    Attributes:
        power: Of the variance in the mean, in (1, 2).
    """

    power: float = 1.5

    def __call__(self, raw: Scalar, target: Scalar) -> Scalar:
        """Give the loss of one row."""
        first, second = 1.0 - self.power, 2.0 - self.power
        return jnp.exp(second * raw) / second - target * jnp.exp(first * raw) / first


@dataclasses.dataclass(frozen=True)
class Focal:
    """The focal loss (Lin et al. 2017, equation 5) of a target 0 or 1.

    Attributes:
        gamma: How little rows count that are classified well, at least 0.
        alpha: Weight of class 1, in (0, 1); class 0 weighs 1 - alpha.
    """

    gamma: float = 2.0
    alpha: float = 0.25

    def __call__(self, raw: Scalar, target: Scalar) -> Scalar:
        """Give the loss of one row."""
        z = (2.0 * target - 1.0) * raw
        balance = self.alpha * target + (1.0 - self.alpha) * (1.0 - target)
        miss = jnp.exp(-self.gamma * jax.nn.softplus(z))  # (1 - p)^gamma
        return balance * miss * jax.nn.softplus(-z)


def identity(raw: Num[Array, "v n"]) -> Num[Array, "v n"]:
    """Give the raw scores themselves."""
    return raw


def softmax(raw: Float[Array, "v n"]) -> Float[Array, "v n"]:
    """Give probabilities over the outputs."""
    return jax.nn.softmax(raw, axis=0)


def exp(raw: Num[Array, "v n"]) -> Num[Array, "v n"]:
    """Give the mean from its logarithm; a function that pickle finds by its name."""
    return jnp.exp(raw)


def sigmoid(raw: Float[Array, "v n"]) -> Float[Array, "v n"]:
    """Give the probability of class 1 from its log odds."""
    return jax.nn.sigmoid(raw)


def sigmoid_of_double(raw: Float[Array, "v n"]) -> Float[Array, "v n"]:
    """Give the probability of class 1 from half its log odds (AdaBoost)."""
    return jax.nn.sigmoid(2.0 * raw)


LINKS = {
    "identity": identity,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "exp": exp,
}
