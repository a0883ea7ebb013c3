"""Schedules against their formulas, AdamW and clipping against torch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab.core.errors import InputError
from jaxlab.train.optim import (
    adamw,
    decay_mask,
    keep_within,
    make_schedule,
    noam,
    warmup_cosine,
)

# Ten float32 updates in two orders of operations.
UPDATES = 2e-6


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_warm_up_then_half_a_cosine(warmup):
    steps, peak, end = 20, 0.3, 0.01
    schedule = warmup_cosine(peak, steps, warmup, end=end)
    for t in range(steps + 1):
        share = (t - warmup) / (steps - warmup)
        cosine = end + (peak - end) * (1 + np.cos(np.pi * share)) / 2
        expected = peak * (t + 1) / warmup if t < warmup else cosine
        assert float(schedule(t)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("warmup", [-1, 10, 11])
def test_a_warm_up_outside_the_run_is_refused(warmup):
    with pytest.raises(InputError, match=f"warmup_steps {warmup} .* 9"):
        warmup_cosine(0.1, 10, warmup)


@pytest.mark.parametrize("peak", [-0.1, math.nan, math.inf])
def test_a_learning_rate_that_is_none_is_refused(peak):
    with pytest.raises(InputError, match=f"learning_rate {peak} must be 0 or more"):
        warmup_cosine(peak, 10)


def test_only_kernels_decay():
    params = {
        "head": {"kernel": jnp.ones(2), "bias": jnp.ones(2)},
        "norm": {"scale": jnp.ones(2)},
        "pos_embed": jnp.ones(2),
        "lstm": {"hidden_kernel": jnp.ones(2), "hidden_bias": jnp.ones(2)},
    }
    assert decay_mask(params) == {
        "head": {"kernel": True, "bias": False},
        "norm": {"scale": False},
        "pos_embed": False,
        "lstm": {"hidden_kernel": True, "hidden_bias": False},
    }


@pytest.mark.peer
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_adamw_equals_torch(rng, clip):
    torch = pytest.importorskip("torch")
    start = rng.normal(size=(4, 3)).astype(np.float32)
    grads = rng.normal(size=(10, 4, 3)).astype(np.float32)
    weight = torch.nn.Parameter(torch.tensor(start))
    peer = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.1, eps=1e-8)
    params = {"kernel": jnp.asarray(start)}
    optimizer = adamw(0.01, weight_decay=0.1, clip_norm=clip)
    state = optimizer.init(params)
    for grad in grads:
        weight.grad = torch.tensor(grad)
        if clip:
            torch.nn.utils.clip_grad_norm_([weight], clip)
        peer.step()
        updates, state = optimizer.update({"kernel": jnp.asarray(grad)}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["kernel"], weight.detach().numpy(), atol=UPDATES)


def test_the_first_moment_can_be_half_precision():
    optimizer = adamw(0.01, mu_dtype=jnp.bfloat16)
    state = optimizer.init({"kernel": jnp.ones(3)})
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(state)}
    assert jnp.dtype(jnp.bfloat16) in dtypes


def test_a_run_without_steps_is_refused():
    with pytest.raises(InputError, match="steps 0 must be at least 1"):
        warmup_cosine(0.1, 0)


def test_noam_is_the_schedule_of_the_paper():
    schedule = noam(512, 4000)
    for count in (0, 99, 3999, 4000, 99_999):
        t = count + 1  # the paper counts from one
        expected = 512**-0.5 * min(t**-0.5, t * 4000**-1.5)
        assert float(schedule(count)) == pytest.approx(expected, rel=1e-6)
    assert float(noam(512, 4000, scale=2.0)(9)) == pytest.approx(2 * schedule(9))
    with pytest.raises(InputError, match="warmup_steps 0"):
        noam(512, 0)


def test_noam_is_the_legacy_schedule_of_tensor2tensor():
    # There: constant 5000 * .002 * .1, linear_warmup * rsqrt_decay * rsqrt_hidden_size.
    schedule = noam(256, 8000)
    for step in (0, 10, 7999, 20_000):
        theirs = min(1.0, (step + 1) / 8000) * max(step + 1, 8000) ** -0.5 * 256**-0.5
        assert float(schedule(step)) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("name", ["cosine", "linear", "noam", "constant"])
def test_every_schedule_rises_to_the_peak(name):
    schedule = make_schedule(name, 0.3, 100, 10)
    rates = [float(schedule(count)) for count in range(100)]
    assert 0 < rates[0] < rates[5] < rates[9]
    assert max(rates) == pytest.approx(0.3, rel=1e-5)
    assert rates[9] == pytest.approx(0.3, rel=1e-5)
    linear = 0.3 / 91  # the fall ends with the update after the last
    ends = {
        "cosine": 0.0,
        "linear": linear,
        "noam": 0.3 * np.sqrt(0.1),
        "constant": 0.3,
    }
    assert rates[-1] == pytest.approx(ends[name], abs=1e-3)


def test_parameters_are_kept_within_a_limit(rng):
    params = {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}
    grads = {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}
    optimizer = optax.chain(optax.sgd(0.1), keep_within(0.3))
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    found = optax.apply_updates(params, updates)["kernel"]
    wanted = np.clip(params["kernel"] - 0.1 * grads["kernel"], -0.3, 0.3)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    with pytest.raises(InputError, match=r"limit 0.0 of clipping must be positive"):
        keep_within(0.0)
