"""Open the folder of a run: configuration, network, parameters, names."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import trees
from jaxlab.core.errors import InputError
from jaxlab.core.pytree import fingerprint, fingerprint_text
from jaxlab.core.recorded import read_fields
from jaxlab.core.typing import ModelState, Params, PyTree
from jaxlab.data.text.vocabulary import Vocabulary
from jaxlab.models.codes.make import make_vqgan, make_vqvae
from jaxlab.models.codes.make_prior import make_code_gpt, make_maskgit
from jaxlab.models.gan.dense import PointCritic
from jaxlab.models.gan.make import make_gan, make_point_gan
from jaxlab.models.language_models import make_language_model
from jaxlab.models.translators import make_translator
from jaxlab.models.vision.feature_classifier import FeatureClassifier
from jaxlab.models.vision.vit import ViT
from jaxlab.runs.load_params import At, load_params
from jaxlab.runs.run_files import read_config, read_network

__all__ = ["MAKERS", "OpenedRun", "open_run"]

_NETWORKS: tuple[Callable[..., Any], ...] = (
    FeatureClassifier,
    PointCritic,
    ViT,
    make_code_gpt,
    make_gan,
    make_language_model,
    make_maskgit,
    make_point_gan,
    make_translator,
    make_vqgan,
    make_vqvae,
)
MAKERS: dict[str, Callable[..., Any]] = {maker.__name__: maker for maker in _NETWORKS}
_ESTIMATORS = (
    trees.GradientBoostingClassifier,
    trees.GradientBoostingRegressor,
    trees.XGBoostClassifier,
    trees.XGBoostRegressor,
)
_ESTIMATOR_NAMES = {kind.__name__: kind for kind in _ESTIMATORS}


@dataclasses.dataclass(frozen=True)
class OpenedRun:
    """What the folder of a run holds.

    Attributes:
        folder: The run folder.
        experiment: Name of the experiment that made it.
        config: Its configuration, by field.
        network: What the run's maker makes of the recorded fields: a Linen module, a
            `Gan`, or the fitted estimator of a run of trees.
        preprocessing: How the run turned data into the network's inputs.
        class_names: Names of the classes, in the order of the logits, if there are any.
        vocabulary: The tokens of a text model, else None.
        step: The state that parameters are read from, see `open_run`.
    """

    folder: pathlib.Path
    experiment: str
    config: dict[str, Any]
    network: Any
    preprocessing: dict[str, Any]
    class_names: tuple[str, ...]
    vocabulary: Vocabulary | None
    step: At | int

    @functools.cached_property
    def params(self) -> Params:
        """The parameters to evaluate with, JAX arrays: the average if one was kept.

        Those of the generator, if two networks were trained.
        """
        return self.part("")

    @functools.cached_property
    def model_state(self) -> ModelState:
        """What the network keeps beside its parameters, such as batch statistics."""
        for name in ("model_state", "generator/model_state"):
            with contextlib.suppress(InputError):
                return self.part(name)
        return {}

    @functools.cached_property
    def fingerprint(self) -> str:
        """A short name of parameters and model state: others have another.

        A second stage keeps it in its configuration, so that it is not resumed beside
        another first stage.
        """
        return fingerprint((self.params, self.model_state))

    def part(self, name: str) -> PyTree:
        """Read any part of the state, such as `critic/params`; see `load_params`."""
        if isinstance(self.network, _ESTIMATORS):
            raise InputError(
                f"the run in {self.folder} trained trees, which have no parameters; "
                "use `network`, the fitted estimator"
            )
        found = load_params(self.folder, name=name, step=self.step)
        return jax.tree.map(jnp.asarray, found)


def open_run(
    folder: str | pathlib.Path,
    *,
    step: At | int = "best",
    makers: Mapping[str, Callable[..., Any]] | None = None,
) -> OpenedRun:
    """Open the folder of a run.

        run = open_run("runs/vit_cifar/20261130-120000")
        logits = run.network.apply({"params": run.params}, images)

    Args:
        folder: A run folder, as printed at the end of a run.
        step: Which state to read: the `best` by the run's own measure (the last where
            none was measured), the `last`, or that of a step. An estimator of trees is
            always the finished one.
        makers: Makers by name beside those of jaxlab, for networks of one's own.

    Raises:
        InputError: If the folder holds no run, one of an earlier version, or one of a
            maker that is not known.
    """
    path = pathlib.Path(folder).expanduser()
    experiment, config = read_config(path)
    found = read_network(path)
    maker = found["maker"]
    known = {**MAKERS, **(makers or {})}
    if maker in _ESTIMATOR_NAMES:
        file = path / "model.npz"
        if not file.exists():
            raise InputError(f"the run in {path} has not finished: it has no model.npz")
        network = _ESTIMATOR_NAMES[maker]().load_model(file)
    elif maker in known:
        try:
            network = known[maker](**read_fields(found["fields"]))
        except TypeError as error:
            raise InputError(
                f"the network of {path} cannot be made again: {error}; it was recorded "
                "by another version"
            ) from None
    else:
        raise InputError(
            f"the network of {path} was made by {maker!r}, which is none of "
            f"{', '.join(known)}; give it as makers={{{maker!r}: ...}}"
        )
    vocabulary = None
    if found["vocabulary"]:
        file = path / found["vocabulary"]
        vocabulary = Vocabulary.load(file)
        if fingerprint_text(repr(vocabulary)) != found["tokens"]:
            raise InputError(
                f"{file} is not what the run was trained with; put it back"
            )
    return OpenedRun(
        folder=path,
        experiment=experiment,
        config=config,
        network=network,
        preprocessing=found["preprocessing"],
        class_names=tuple(found["class_names"]),
        vocabulary=vocabulary,
        step=step,
    )
