"""A moment of a generator of points is measured once, and kept to be drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import from_linen
from jaxlab.evals import points as module
from jaxlab.evals.points import PointReport
from jaxlab.models.gan.make import make_point_gan
from jaxlab.plots.critic import read_stages
from jaxlab.train.adversarial import Optimizers, init_adversarial_state

GAN = make_point_gan(width=8, generator_depth=1, critic_depth=1)
NETWORKS = [from_linen(network) for network in (GAN.generator, GAN.critic)]


@pytest.fixture
def state():
    optimizers = Optimizers(optax.sgd(0.1), optax.sgd(0.1))
    return init_adversarial_state(
        *(*NETWORKS, optimizers, jax.random.key(0), make_mesh("data=1")),
        *(jnp.zeros((1, 2)), jnp.zeros((1, 2))),
    )


@pytest.mark.slow
def test_a_moment_is_measured_once(state, tmp_path, monkeypatch):
    calls, measure = [], module.critic_report

    def counted(*args):
        calls.append(0)
        return measure(*args)

    monkeypatch.setattr(module, "critic_report", counted)
    report = PointReport(GAN, "8gaussians")
    found = report(state, tmp_path)
    (stage,) = read_stages(tmp_path / "stages")
    assert stage.step == 0
    assert np.isfinite(stage.samples).all()
    assert report(state, tmp_path) == found
    assert len(calls) == 1
    assert {"modes", "high_quality"} <= found.keys()
    assert 0 < report.floor < found["exact_w1"]
    other = jax.tree.map(lambda leaf: leaf, state)
    assert report(other, tmp_path) == found
    assert len(calls) == 2


@pytest.mark.slow
def test_data_without_modes_have_none_counted(state, tmp_path):
    report = PointReport(GAN, "swissroll")
    assert "modes" not in report(state, tmp_path)
