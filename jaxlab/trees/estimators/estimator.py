"""What the estimators share: training, raw scores of any table, stages, leaves."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxlab.core.compilation import use_compilation_cache
from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array
from jaxlab.trees.boost.boosting import (
    Boosted,
    BoostingProgress,
    Config,
    HeldOut,
    bin_rows,
    train,
)
from jaxlab.trees.estimators.inputs import TrainingRows, read_mesh, seed_of
from jaxlab.trees.estimators.saving import load_state, save_state
from jaxlab.trees.grow.predict import Predictor, padded_size
from jaxlab.trees.grow.tree import Forest
from jaxlab.trees.objectives import losses
from jaxlab.trees.objectives.objective import Objective
from jaxlab.trees.objectives.ranking import Groups
from jaxlab.trees.table.binning import Binner, fit_binner, transform
from jaxlab.trees.table.columns import read_table

__all__ = ["TreeEstimator", "by_row", "link_scores"]


class TreeEstimator(BaseEstimator):
    """A forest with its binner. Subclasses fit it, and say what its scores mean.

    Attributes:
        binner_: How features are cut into bins.
        forest_: The trees.
        objective_: What was minimised; its link makes predictions of raw scores.
        n_features_in_: Number of features.
        feature_names_in_: Names of the features, where the table had any.
    """

    _default_seed: ClassVar[int | None] = None  # None: drawn, as in scikit-learn

    binner_: Binner
    forest_: Forest
    objective_: Objective
    n_features_in_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_predictor", None)  # rebuilt: it lies on devices
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "forest_" in state:
            self._keep(self.forest_)

    def save_model(self, path: Any) -> None:
        """Write the fitted model to a file of arrays (npz), at once or not at all.

        Functions (a loss, a link or a metric of your own) are not written.
        """
        check_is_fitted(self, "forest_")
        save_state(self, path)

    def load_model(self, path: Any) -> Any:
        """Read a model that the same class has saved, and give it.

        An estimator with a loss or link of its own needs them as settings here.

        Raises:
            InputError: If the file is none of this class.
        """
        load_state(self, path)
        self.objective_ = self._find_objective()
        self._keep(self.forest_)
        return self

    @classmethod
    def from_forest(
        cls, forest: Forest, binner: Binner, classes: Any = None, **settings: Any
    ) -> Any:
        """Make a fitted estimator of a forest that the functional core has grown.

        Args:
            forest: Trees.
            binner: Of their features.
            classes: Labels of a classifier, by output (of two: the first, the second).
            settings: Of the estimator; the objective is one of them.
        """
        model = cls(**settings)
        model.binner_, model.n_features_in_ = binner, binner.num_features
        if classes is not None:
            model.classes_ = np.asarray(classes)
        model.objective_ = model._find_objective()
        model._keep(forest)
        return model

    def _find_objective(self) -> Objective:
        """Find the objective of the settings (and classes)."""
        raise NotImplementedError

    def _keep(self, forest: Forest) -> None:
        """Take a trained forest, ready to predict."""
        self.forest_ = forest
        self._predictor = Predictor(forest)

    def _read_features(self, X: Any, *, reset: bool) -> Any:
        """Check names and number of features, or take them over."""
        is_table = isinstance(X, np.ndarray) or hasattr(X, "tocsc")
        table = X if is_table or hasattr(X, "iloc") else np.asarray(X)
        shape = np.shape(table)
        if len(shape) != 2 or 0 in shape:
            read_table(table)  # which says what is wrong
        if not reset and shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input; give it the columns of the "
                "fit"
            )
        validate_data(self, X, reset=reset, skip_check_array=True)
        return table

    def _begin(self, earlier: "TreeEstimator | None", config: Config) -> Config:
        """Prepare a fit that may go on from an earlier one; give what is left to do."""
        use_compilation_cache()
        if earlier is not self:
            self._seed = seed_of(
                getattr(self, "random_state", None), self._default_seed
            )
            return config
        done = self.forest_.num_rounds
        left = config.num_rounds - done
        if left < 0:
            raise InputError(
                f"n_estimators {config.num_rounds} is below the {done} rounds already "
                "there; with warm_start it counts them"
            )
        return dataclasses.replace(config, num_rounds=left)

    def _fit_binner(
        self, rows: TrainingRows, earlier: "TreeEstimator | None", **settings: Any
    ) -> None:
        """Choose bins, or take those of the model to go on from."""
        if earlier is not None:
            self.binner_ = earlier.binner_
            return
        self.binner_ = fit_binner(
            rows.X, weight=rows.weight, seed=self._seed, **settings
        )

    def _train(
        self,
        rows: TrainingRows,
        objective: Objective,
        config: Config,
        sets: dict[str, TrainingRows],
        earlier: "TreeEstimator | None",
        *,
        verbose: int,
        trainer: Callable[..., Boosted] = train,
        **options: Any,
    ) -> Boosted:
        """Train on rows that were checked and can be binned, and keep the forest.

        Args:
            rows: To train on.
            objective: What to minimise.
            config: How.
            sets: Rows to watch.
            earlier: A fitted model to go on from.
            verbose: Whether to show progress.
            trainer: `boosting.train`, or something like it.
            options: Of the trainer.
        """
        init = None if earlier is None else earlier.forest_
        evaluations = {
            name: HeldOut(
                bin_rows(self.binner_, one.X),
                one.target,
                one.weight,
                self._groups(one),
                one.offset,
            )
            for name, one in sets.items()
        }
        shown = _show_rounds(config.num_rounds, len(rows.target), verbose)
        with shown as watch:
            boosted = trainer(
                bin_rows(self.binner_, rows.X),
                rows.target,
                objective,
                config,
                jax.random.key(self._seed),
                weight=rows.weight,
                groups=self._groups(rows),
                init=init,
                offset=rows.offset,
                evaluations=evaluations,
                watch=watch,
                mesh=read_mesh(getattr(self, "mesh", None)),
                **options,
            )
        self.objective_ = objective
        self._keep(boosted.forest)
        return boosted

    def _groups(self, rows: TrainingRows) -> Groups | None:
        return None

    def _bins(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "forest_")
        return transform(self.binner_, self._read_features(X, reset=False))

    def _start(self, X: Any) -> np.ndarray | None:
        """Give what raw scores begin with, where it is no constant."""
        return None

    def _raw(
        self,
        X: Any,
        rounds: tuple[int, int] | None = None,
        start: np.ndarray | None = None,
    ) -> np.ndarray:
        """Give raw scores, float32 [outputs, rows].

        Args:
            X: Features.
            rounds: First round, and the one after the last; all by default.
            start: Scores to add to, in place of the forest's own start.
        """
        bins = self._bins(X)
        start = self._start(X) if start is None else start
        begin, end = rounds or (0, self.forest_.num_rounds)
        if begin == 0:
            return self._predictor.raw(bins, rounds=end, start=start)
        part = Predictor(self.forest_.rounds(end, begin))
        return part.raw(bins, start=start)

    def _staged_raw(self, X: Any) -> Iterator[np.ndarray]:
        """Give raw scores after each round."""
        bins, forest = self._bins(X), self.forest_
        raw = self._predictor.raw(bins, rounds=0, start=self._start(X))
        for number in range(forest.num_rounds):
            one = Predictor(forest.rounds(number + 1, number))
            raw = one.raw(bins, start=raw)
            yield raw


@contextlib.contextmanager
def _show_rounds(
    num_rounds: int, num_rows: int, verbose: int
) -> Iterator[Callable[[BoostingProgress], None] | None]:
    """Show rounds as they are done; give what `train` takes as `watch`."""
    if not verbose:
        yield None
        return
    from jaxlab.core.progress import make_progress  # brings rich

    progress = make_progress(0, num_rounds, num_rows, shown=("",))

    def watch(now: BoostingProgress) -> None:
        progress.step(now.done)
        progress.log({name: values[-1] for name, values in now.scores.items()})

    try:
        yield watch
    finally:
        progress.close()


def by_row(scores: np.ndarray) -> np.ndarray:
    """Give [n] for one output, [n, outputs] for several; float64."""
    return np.asarray(scores[0] if len(scores) == 1 else scores.T, np.float64)


@functools.partial(jax.jit, static_argnums=0)
def _linked(link: Callable[[Array], Array], raw: Array) -> Array:
    return link(raw)


def link_scores(objective: Objective, raw: np.ndarray) -> np.ndarray:
    """Make predictions of raw scores, float64 [outputs, rows].

    In float64, so that probabilities add up to 1 as scikit-learn's metrics want them.
    """
    wide = raw.astype(np.float64)
    if objective.link is losses.identity:
        return wide
    num_rows = wide.shape[1]
    padded = np.pad(wide, ((0, 0), (0, padded_size(num_rows) - num_rows)))
    with jax.enable_x64(True):
        return np.asarray(_linked(objective.link, padded))[:, :num_rows]
