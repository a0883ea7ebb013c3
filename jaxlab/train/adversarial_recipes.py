r"""Ways to train adversarial networks, by name, with the settings of their papers.

A recipe says which losses, what holds the critic's slope, and which optimiser. Settings
of `RECIPES` are those of images; `TOY_RECIPES` are for points in the plane.

    minimax    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1
    gan        the same, section 3 (non-saturating)
    lsgan      Mao et al. 2017, https://arxiv.org/abs/1611.04076
    hinge      Lim and Ye 2017, https://arxiv.org/abs/1705.02894
    sn         Miyato et al. 2018, https://arxiv.org/abs/1802.05957: hinge, and a critic
               of spectrally normalised layers
    wgan-clip  Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, algorithm 1
    wgan-gp    Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, algorithm 1
    wgan-lp    Petzka et al. 2018, https://arxiv.org/abs/1709.08894
    dragan     Kodali et al. 2017, https://arxiv.org/abs/1705.07215
    r1         Mescheder et al. 2018, https://arxiv.org/abs/1801.04406

Where a paper names no optimiser for images of this size, DCGAN's is taken (Radford et
al. 2016, https://arxiv.org/abs/1511.06434): Adam, 2e-4, 0.5 and 0.999.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Float, Key, Scalar
from jaxlab.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss
from jaxlab.losses.lipschitz import dragan_penalty, gradient_penalty, r1_penalty

__all__ = [
    "RECIPES",
    "TOY_RECIPES",
    "Penalty",
    "Recipe",
    "RecipeName",
    "find_recipe",
]

Penalty: TypeAlias = Literal["none", "gp", "lp", "dragan", "r1"]
RecipeName: TypeAlias = Literal[
    "minimax",
    "gan",
    "lsgan",
    "hinge",
    "sn",
    "wgan-clip",
    "wgan-gp",
    "wgan-lp",
    "dragan",
    "r1",
]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One way to train, and the settings that go with it.

    Attributes:
        loss: A name of `ADVERSARIAL_LOSSES`.
        penalty: Of the critic's slope: two-sided (`gp`) or one-sided (`lp`) on lines
            between data and samples, around the data (`dragan`), at the data (`r1`).
        penalty_weight: Its weight.
        clip: Limit of each number of the critic; 0: none.
        spectral: Whether the critic is to be one of spectrally normalised layers.
        optimizer: `adam`, or torch's `rmsprop`.
        learning_rate: Of both players.
        b1: Decay of Adam's first moment.
        b2: Decay of the second moment, of both methods.
        critic_steps: k, to each step of the generator.
    """

    loss: str
    penalty: Penalty = "none"
    penalty_weight: float = 0.0
    clip: float = 0.0
    spectral: bool = False
    optimizer: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = 2e-4
    b1: float = 0.5
    b2: float = 0.999
    critic_steps: int = 1

    @property
    def losses(self) -> AdversarialLoss:
        """The losses of the two players."""
        return ADVERSARIAL_LOSSES[self.loss]

    def penalize(
        self,
        critic: Callable[[Array], Array],
        real: Float[Array, "b ..."],
        fake: Float[Array, "m ..."],
        key: Key[Array, ""],
    ) -> Scalar:
        """Compute the penalty of a critic's slope, weight included; 0 without one.

        Args:
            critic: Scores of rows, each of its row alone; see
                `lipschitz.critic_of_rows`.
            real: Rows of data.
            fake: Rows of the generator, as many for `gp` and `lp`.
            key: Draws the places.
        """
        weight = self.penalty_weight
        if self.penalty in ("gp", "lp"):
            return gradient_penalty(
                critic,
                real,
                fake,
                key,
                weight=weight,
                one_sided=self.penalty == "lp",
            )
        if self.penalty == "dragan":
            return dragan_penalty(critic, real, key, weight=weight)
        if self.penalty == "r1":
            return r1_penalty(critic, real, weight=weight)
        return jnp.zeros(())


# Adam of the spectral normalisation and of the penalised critics: no momentum.
_STEADY = Recipe("hinge", b1=0.0, b2=0.9, critic_steps=5)
_WASSERSTEIN = dataclasses.replace(_STEADY, loss="wasserstein", learning_rate=1e-4)

RECIPES: dict[str, Recipe] = {
    "minimax": Recipe("minimax"),
    "gan": Recipe("non_saturating"),
    "lsgan": Recipe("least_squares"),
    "hinge": _STEADY,
    "sn": dataclasses.replace(_STEADY, spectral=True),
    "wgan-clip": Recipe(
        "wasserstein",
        clip=0.01,
        optimizer="rmsprop",
        learning_rate=5e-5,
        b2=0.99,
        critic_steps=5,
    ),
    "wgan-gp": dataclasses.replace(_WASSERSTEIN, penalty="gp", penalty_weight=10.0),
    # Its paper tries many weights; this is the two-sided penalty's.
    "wgan-lp": dataclasses.replace(_WASSERSTEIN, penalty="lp", penalty_weight=10.0),
    "dragan": Recipe("non_saturating", penalty="dragan", penalty_weight=10.0),
    "r1": Recipe(
        "non_saturating",
        penalty="r1",
        penalty_weight=10.0,
        optimizer="rmsprop",
        learning_rate=1e-4,
        b2=0.99,
    ),
}


def _for_points(recipe: Recipe) -> Recipe:
    changed: dict[str, Any] = {"optimizer": "adam", "b1": 0.5, "b2": 0.99}
    if recipe.clip:  # by 0.01, the scores of a network of dense layers are all but 0
        changed = {"clip": 0.1, "learning_rate": 1e-3}
    elif recipe.penalty in ("gp", "lp"):
        changed |= {"penalty_weight": 0.1, "learning_rate": 5e-3}
    elif recipe.penalty != "none":
        changed |= {"learning_rate": 1e-3}
    return dataclasses.replace(recipe, **changed)


# For points in the plane, with learning rates that are to fall to 0 in some thousand
# steps. The weight is that of Gulrajani et al.'s `gan_toy.py`. Critics whose slope
# nothing holds keep their small rate: at a larger one, modes are lost.
TOY_RECIPES = {name: _for_points(recipe) for name, recipe in RECIPES.items()}


def find_recipe(
    name: str, *, recipes: Mapping[str, Recipe] = RECIPES, **settings: Any
) -> Recipe:
    """Give a recipe, with some of its settings changed.

    Args:
        name: One of the recipes.
        recipes: By name.
        settings: Numbers of `Recipe`; 0 leaves the recipe's own.

    Raises:
        InputError: If there is no such recipe, or a number is not 0 or more.
    """
    if name not in recipes:
        raise InputError(f"loss {name!r} is not one of {', '.join(recipes)}")
    for field, value in settings.items():
        if not 0 <= value < math.inf:
            raise InputError(
                f"{field} {value} must be above 0, or 0 for that of {name!r}"
            )
    changed = {field: value for field, value in settings.items() if value}
    return dataclasses.replace(recipes[name], **changed)
