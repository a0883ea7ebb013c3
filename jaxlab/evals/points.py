"""What is measured and drawn of a generator of points, at any moment of its run."""

import pathlib
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.model import from_linen
from jaxlab.core.typing import Array
from jaxlab.data.points.toy import TOY_DATA, TOY_MIXTURES
from jaxlab.metrics.critic import critic_report
from jaxlab.metrics.mode_coverage import mode_coverage
from jaxlab.models.gan.make import Gan
from jaxlab.plots.critic import (
    Stage,
    animation,
    final_picture,
    keep_stage,
    places_in_plane,
    read_stages,
    side_by_side,
    stage_panels,
)
from jaxlab.plots.figure import picture
from jaxlab.train.adversarial import (
    AdversarialState,
    Player,
    generator_params_to_evaluate,
)
from jaxlab.train.evaluate import once_per_state
from jaxlab.transport.exact import wasserstein

__all__ = ["PointReport"]

_SAMPLES = 10_000  # points whose modes are counted
_REPORTED = 256  # rows beside which the critic is measured
_DRAWN = 1000  # points in a picture
_SIDE = 96  # places of a line of the contours
_REPORTS = 0x727074  # sets its keys apart from others of the same seed


class PointReport:
    """Measures a critic and a generator of points, and keeps moments to draw.

    Each moment is written below the folder of the run, so that a resumed run draws all
    of them. The latent rows and the points of data are the same at each moment.
    """

    def __init__(
        self,
        gan: Gan,
        data: str,
        *,
        seed: int = 0,
    ) -> None:
        """Draw the points and the latent rows.

        Args:
            gan: The networks of points.
            data: One of `TOY_DATA`; of those in `TOY_MIXTURES` the modes are counted.
            seed: Of the points and latent rows.
        """
        generator, critic = from_linen(gan.generator), from_linen(gan.critic)
        sample, base = TOY_DATA[data], jax.random.key(seed)
        keys = jax.random.split(jax.random.fold_in(base, _REPORTS), 5)
        self.real = np.asarray(sample(keys[0], _DRAWN))
        self._rows = jnp.asarray(sample(keys[1], _REPORTED))
        others = np.asarray(sample(keys[2], _REPORTED))
        # Of as many other points of the data: what perfect samples would reach.
        self.floor = wasserstein(self._rows, others)
        latents, self._key = gan.sample_latents(keys[3], _SAMPLES), keys[4]
        self._mixture = TOY_MIXTURES.get(data)
        self.extent = 1.3 * float(np.abs(self.real).max())
        places = jnp.asarray(places_in_plane(self.extent, _SIDE))

        def score(player: Player, x: Array) -> Array:
            return critic.apply(player.params, player.model_state, x)[0]

        @jax.jit
        def look(state: AdversarialState) -> tuple[Array, Array, Array]:
            model_state = state.generator.model_state
            averaged = generator_params_to_evaluate(state)
            made, _ = generator.apply(averaged, model_state, latents)
            met, _ = generator.apply(
                state.generator.params, model_state, latents[:_REPORTED]
            )
            return made, met, score(state.critic, places)

        self._score, self._look = score, look
        self._moment = once_per_state(self._measure)

    def __call__(
        self, state: AdversarialState, folder: pathlib.Path
    ) -> dict[str, float]:
        """Measure one moment, and keep it below a folder.

        Asked again for the state of the last call, it answers at once.

        Returns:
            What `critic_report` gives of 256 points, those of the generator that the
            critic meets, not of its average, and `mode_coverage` of 10,000
            where the data have modes.
        """
        return self._moment(state, folder)

    def _measure(
        self, state: AdversarialState, folder: pathlib.Path
    ) -> dict[str, float]:
        points, met, scores = map(np.asarray, self._look(state))
        step = int(state.step)
        keep_stage(folder / "stages", Stage(step, points[:_DRAWN], scores))
        critic = jax.tree_util.Partial(self._score, state.critic)
        key = jax.random.clone(self._key)
        found = critic_report(critic, self._rows, jnp.asarray(met), key)
        if self._mixture is not None:
            found |= mode_coverage(points, self._mixture)
        return found

    @picture
    def draw(self, folder: pathlib.Path) -> None:
        """Draw the moments: `stages.png`, `stages.gif`, and the last, `final.png`."""
        stages = read_stages(folder / "stages")
        for draw in (stage_panels, animation):
            draw(folder, self.real, stages, self.extent)
        final_picture(folder, self.real, stages[-1], self.extent)

    @picture
    def compare(self, folder: pathlib.Path, names: Iterable[str]) -> None:
        """Draw the last moments of runs in folders below one, in `losses.png`."""
        stages = {name: read_stages(folder / name / "stages")[-1] for name in names}
        side_by_side(folder, self.real, stages, self.extent)
