"""What is measured and drawn of a generator of images, at any moment of its run."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.model import from_linen
from jaxlab.core.typing import Array
from jaxlab.data.critic_order import CriticOrder
from jaxlab.data.images.augment import to_unit_range
from jaxlab.data.images.image_set import ImageData
from jaxlab.evals.image_sampler import ImageSampler
from jaxlab.losses.adversarial import scores_of
from jaxlab.metrics.critic import critic_report
from jaxlab.metrics.parzen import parzen_scores
from jaxlab.metrics.sample_scores import SCORES, Embedded, Features, SampleScorer
from jaxlab.models.gan.make import Gan
from jaxlab.plots.images import image_grid, sample_grid
from jaxlab.plots.transport import estimate_curves
from jaxlab.runs.run_files import read_metrics
from jaxlab.train.adversarial import (
    AdversarialState,
    Player,
    generator_params_to_evaluate,
)
from jaxlab.train.evaluate import once_per_state
from jaxlab.transport.exact import wasserstein

__all__ = ["ImageReport"]

_MOST_REAL = 10_000  # images of the data that samples are compared with
_FEWEST = 10
_SHOWN = 80  # images of a picture


class ImageReport:
    """Measures a critic on a batch, and scores and draws generated images.

    The real images of the batch are those of the critic's last step, as they are
    stored; the fakes are drawn anew from the generator that the critic meets next.

    The images are those of the same latent rows at each moment. They are scored beside
    the training images (at most 10,000); so are as many held-out images, once, which
    tells what the scores of perfect samples would be.
    """

    def __init__(
        self,
        gan: Gan,
        data: ImageData,
        order: CriticOrder,
        features: Features,
        *,
        num_samples: int = _MOST_REAL,
        seed: int = 0,
    ) -> None:
        """Embed the real images, and draw the latent rows.

        Args:
            gan: The networks.
            data: The images.
            order: That of the training batches.
            features: The network that embeds them.
            num_samples: Images to score, at most as many as are held out.
            seed: Of the latent rows.

        Raises:
            InputError: If there are to be too few images.
        """
        if num_samples < _FEWEST:
            raise InputError(
                f"num_samples {num_samples} must be at least {_FEWEST}; fewer images "
                "have no scores"
            )
        count = min(num_samples, len(data.test))
        if count < _FEWEST:
            raise InputError(
                f"{count} held-out images are too few to score samples beside; "
                f"hold out at least {_FEWEST}"
            )
        generator, critic = from_linen(gan.generator), from_linen(gan.critic)
        labels = np.arange(count, dtype=np.int32) % len(data.class_names)
        latents = gan.sample_latents(jax.random.key(seed), count)
        self._sample = ImageSampler(generator, latents, labels)
        self._data, self._order, self._sees_labels = data, order, gan.sees_labels
        reference = np.arange(min(_MOST_REAL, len(data.train)))
        self._scorer = SampleScorer(features, data.train.rows(reference)["image"])
        self._held_out = data.test.rows(np.arange(count))["image"]
        self._known = data.train.rows(reference[:count])["image"]

        def score(player: Player, labels: Array, x: Array) -> Array:
            out, _ = critic.apply(player.params, player.model_state, x, labels)
            return scores_of(out)

        @jax.jit
        def fakes(player: Player, labels: Array, key: Array) -> Array:
            latents = gan.sample_latents(key, len(labels))
            return generator.apply(
                player.params, player.model_state, latents, labels, train=True
            )[0]

        self._score, self._fakes = score, fakes
        self._moment = once_per_state(self._measure)

    def __call__(
        self, state: AdversarialState, folder: pathlib.Path
    ) -> dict[str, float]:
        """Measure and draw one moment.

        Asked again for the state of the last call, it answers at once.

        Args:
            state: Of the run.
            folder: Where `samples.png` is written, and once more with the step in its
                name.

        Returns:
            What `critic_report` gives of that batch, and the FID.
        """
        return self._moment(state, folder)[0]

    def last(
        self, state: AdversarialState, folder: pathlib.Path, start: dict[str, float]
    ) -> dict[str, float]:
        """Measure and draw the end of a run.

        Args:
            state: At the end.
            folder: As above.
            start: What this report gave of the beginning.

        Returns:
            As above, with all scores; beside the FID, with `_held_out` after its name
            that of the held-out images and with `_untrained` that of the beginning.
            `exact_w1_held_out`, the exact distance that perfect samples would have.
            And `parzen_scores` of the held-out images, of pixels in [0, 1]; training
            images choose the sigma.
        """
        found, images, embedded = self._moment(state, folder)
        others = [score for score in SCORES if score != "fid"]
        found = found | self._scorer(embedded, scores=others)
        for name, real in self._fid(self._scorer.embed(self._held_out)).items():
            found |= {f"{name}_held_out": real, f"{name}_untrained": start[name]}
        found["exact_w1_held_out"] = self._floor()
        samples, valid, test = (
            of / np.float32(255) for of in (images, self._known, self._held_out)
        )
        return found | parzen_scores(samples, valid, test)

    def draw(self, folder: pathlib.Path) -> None:
        """Draw `real.png`, held-out images, and `distance.png`, the critic's estimate.

        Args:
            folder: Folder of the run, whose metrics hold the estimates and the exact
                distances.
        """
        image_grid(folder / "real.png", self._held_out[:_SHOWN], columns=10)
        estimate_curves(folder / "distance.png", read_metrics(folder))

    def _measure(
        self, state: AdversarialState, folder: pathlib.Path
    ) -> tuple[dict[str, float], np.ndarray, Embedded]:
        """Give numbers of a moment, its images, and what the scorer saw in them."""
        step = int(state.step)
        batch = self._data.train.rows(self._order.last(max(step - 1, 0)))
        noise, places = jax.random.split(jax.random.fold_in(state.key, step))
        found = critic_report(
            jax.tree_util.Partial(self._score, state.critic, batch["label"]),
            to_unit_range(jnp.asarray(batch["image"])),
            self._fakes(state.generator, batch["label"], noise),
            places,
            labels=batch["label"] if self._sees_labels else None,
        )
        images = self._sample(
            generator_params_to_evaluate(state), state.generator.model_state
        )
        sample_grid(folder, images[:_SHOWN], step)
        embedded = self._scorer.embed(images)
        return found | self._fid(embedded), images, embedded

    def _fid(self, embedded: Embedded) -> dict[str, float]:
        """Score, but leave out the sizes: they stay the same from row to row."""
        found = self._scorer(embedded, scores=("fid",))
        return {name: value for name, value in found.items() if name.startswith("fid")}

    def _floor(self) -> float:
        """Give the exact distance of a training batch and as many held-out images."""
        size = min(self._order.batch_size, len(self._held_out))
        batch = self._data.train.rows(self._order(0)[:size])["image"]
        pair = (to_unit_range(jnp.asarray(p)) for p in (batch, self._held_out[:size]))
        return wasserstein(*(np.asarray(p, np.float64).reshape(size, -1) for p in pair))
