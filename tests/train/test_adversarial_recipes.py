"""Recipes: each penalty is the one it names, and the settings are the papers'."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.core.errors import InputError
from jaxlab.losses.adversarial import ADVERSARIAL_LOSSES
from jaxlab.train.adversarial_recipes import (
    RECIPES,
    TOY_RECIPES,
    RecipeName,
    find_recipe,
)

SUMS = 1e-6  # of 6 float32 numbers


def linear(x):
    return x @ jnp.array([3.0, 4.0])  # of slope 5 everywhere


# Of a linear critic of slope 5.
EXACT = {"gp": (5 - 1) ** 2, "lp": (5 - 1) ** 2, "dragan": (5 - 1) ** 2, "r1": 25 / 2}


@pytest.mark.parametrize("name", RECIPES)
def test_the_penalty_of_a_linear_critic_is_known(name, rng, key):
    recipe = RECIPES[name]
    real, fake = (jnp.asarray(rng.normal(size=(6, 2)), jnp.float32) for _ in range(2))
    found = recipe.penalize(linear, real, fake, key)
    expected = recipe.penalty_weight * EXACT.get(recipe.penalty, 0.0)
    assert float(found) == pytest.approx(expected, rel=SUMS)


def test_only_the_one_sided_penalty_lets_small_slopes_be(rng, key):
    x = jnp.asarray(rng.normal(size=(6, 2)), jnp.float32)
    values = {
        name: float(RECIPES[name].penalize(lambda x: x @ jnp.ones(2) / 4, x, x, k))
        for name, k in zip(("wgan-gp", "wgan-lp"), jax.random.split(key), strict=True)
    }
    assert values["wgan-lp"] == 0
    assert values["wgan-gp"] == pytest.approx(10 * (1 - np.sqrt(1 / 8)) ** 2, rel=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_a_constant_critic_has_a_finite_gradient(name, rng, key):
    x = jnp.asarray(rng.normal(size=(6, 2)), jnp.float32)
    penalize = RECIPES[name].penalize
    slope = jax.grad(lambda a: penalize(lambda x: a * x[:, 0], x, x, key))(0.0)
    assert jnp.isfinite(slope)


def test_every_recipe_is_whole():
    assert set(RECIPES) == set(typing.get_args(RecipeName))
    for recipe in RECIPES.values():
        assert recipe.losses is ADVERSARIAL_LOSSES[recipe.loss]
        assert (recipe.penalty == "none") == (recipe.penalty_weight == 0)
    assert [name for name, r in RECIPES.items() if r.spectral] == ["sn"]
    assert [name for name, r in RECIPES.items() if r.clip] == ["wgan-clip"]


def test_settings_of_zero_are_the_recipes_own():
    own = RECIPES["wgan-gp"]
    found = find_recipe("wgan-gp", critic_steps=2, learning_rate=0, penalty_weight=0.0)
    assert found == dataclasses.replace(own, critic_steps=2)


def test_a_recipe_that_cannot_be_is_refused():
    with pytest.raises(InputError, match=r"'wgan' is not one of .*wgan-gp"):
        find_recipe("wgan")
    with pytest.raises(InputError, match="critic_steps -1 must be above 0"):
        find_recipe("gan", critic_steps=-1)
    with pytest.raises(InputError, match="learning_rate nan must be above 0"):
        find_recipe("gan", learning_rate=float("nan"))


def test_recipes_of_points_differ_in_settings_alone():
    assert set(TOY_RECIPES) == set(RECIPES)
    for name, recipe in TOY_RECIPES.items():
        same = ("loss", "penalty", "spectral")
        assert all(getattr(recipe, f) == getattr(RECIPES[name], f) for f in same)
    found = find_recipe("wgan-gp", recipes=TOY_RECIPES, critic_steps=0)
    assert (found.penalty_weight, found.critic_steps) == (0.1, 5)
