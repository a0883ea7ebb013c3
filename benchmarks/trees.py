"""Boosted trees on synthetic tables, jaxlab beside the libraries that are installed.

python -m benchmarks.trees                     all parts, about ten minutes on two cores
python -m benchmarks.trees --quick             small tables; nothing is written
python -m benchmarks.trees --parts fit start   some parts

Depth 6, 100 trees, learning rate 0.1, all cores; a fit is binning and training. What is
compared was measured by turns within one table.
"""

import argparse
import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks import tree_peers
from benchmarks.harness import Timing, report, take_turns, timed
from benchmarks.tree_start import FEATURES, make_data, rows_of
from jaxlab.core.compilation import use_compilation_cache
from jaxlab.trees.boost import boosting
from jaxlab.trees.boost.drive import drive
from jaxlab.trees.grow.histogram import choose
from jaxlab.trees.objectives.catalogue import find_objective
from jaxlab.trees.table.binning import fit_binner

TREES, DEPTH = 100, 6
FEW_TREES = 20  # where trees are grown slowly
SAME_AUC = 1e-3
TEST_ROWS = 100_000


def auc(y: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, predicted[:, 1]))


def repeats_of(num_rows: int) -> int:
    return 7 if num_rows <= 10_000 else 5 if num_rows <= 100_000 else 2


class Trees:
    """The parts of the benchmark, for tables of up to some size."""

    def __init__(self, most: int, is_kept: bool) -> None:
        sizes = (1000, 10_000, 100_000, 1_000_000)
        self.sizes = [size for size in sizes if size <= most]
        self.most, self.is_kept = most, is_kept
        self.models: dict[str, Any] = {}  # of the largest table
        self.fit_seconds: dict[str, float] = {}

    def report(self, part: str, title: str, rows: list[dict[str, Any]]) -> None:
        report("trees", title, rows, part=part, is_kept=self.is_kept)

    def fit(self) -> None:
        """Whole fits, and whether the models are equally good."""
        rows = []
        for num_bins in (256, 64):
            for num_rows in self.sizes:
                rows += self._fits(num_rows, num_bins)
        title = f"Whole fit, {TREES} trees of depth {DEPTH}, {FEATURES} features"
        self.report("fit", title, rows)

    def _fits(self, num_rows: int, num_bins: int) -> list[dict[str, Any]]:
        X_test, y_test = make_data(TEST_ROWS, seed=1)
        fits = tree_peers.fits(
            tree_peers.Settings(max_bins=num_bins), *make_data(num_rows)
        )
        models: dict[str, Any] = {}
        timings = _turns(fits, repeats_of(num_rows), models)
        if (num_rows, num_bins) == (self.most, 256):
            self.models = models
            self.fit_seconds = {name: t.median for name, t in timings.items()}
        scores = {
            name: auc(y_test, tree_peers.predict(model, X_test))
            for name, model in models.items()
        }
        return [
            {
                "bins": num_bins,
                "rows": num_rows,
                "library": tree_peers.version(name),
                "warm_s": timing.median,
                "fastest_peer_over_it": _fastest(timings) / timing.median,
                "auc": scores[name],
                "same_auc": abs(scores[name] - scores["jaxlab"]) <= SAME_AUC,
            }
            for name, timing in timings.items()
        ]

    def _fit_largest(self) -> None:
        """Fit the largest table, if that was not done before."""
        if not self.models:
            self._fits(self.most, 256)

    def start(self) -> None:
        """First fits in fresh processes, and their memory."""
        known = tree_peers.fits(tree_peers.Settings(), *make_data(10))
        libraries = [name for name in known if name != "lightgbm quantised"]
        rows = list(rows_of(libraries, sorted({10_000, self.most}), 256))
        self.report("start", "First fit of a process, and its memory", rows)

    def predict(self) -> None:
        """Prediction of all rows of the largest table."""
        self._fit_largest()
        X, _ = make_data(self.most)
        models = self.models.items()
        timings = take_turns(
            {name: _building(tree_peers.predict, model, X) for name, model in models}, 3
        )
        rows = [
            {
                "library": tree_peers.version(name),
                "cold_s": timing.cold,
                "warm_s": timing.median,
                "fastest_peer_over_it": _fastest(timings) / timing.median,
            }
            for name, timing in timings.items()
        ]
        title = f"Prediction of {self.most:,} rows by {TREES} trees"
        self.report("predict", title, rows)

    def pieces(self) -> None:
        """Binning alone, and what is left of a fit for each tree."""
        self._fit_largest()
        binnings = _binnings(*make_data(self.most))
        found = take_turns(
            {
                name: _building(call)
                for name, call in binnings.items()
                if name in self.fit_seconds
            },
            3,
        )
        rows = []
        for name, timing in found.items():
            trees = self.fit_seconds[name] - timing.median
            row = {"library": tree_peers.version(name), "binning_s": timing.median}
            rows.append({**row, "tree_ms": 1e3 * trees / TREES})
        self.report("pieces", f"Parts of a fit of {self.most:,} rows", rows)

    def scaling(self) -> None:
        """Fits by rows and trees."""
        rows = []
        for num_rows in self.sizes[1:]:
            row: dict[str, Any] = {"rows": num_rows}
            data = make_data(num_rows)
            for trees in (TREES // 2, TREES, 2 * TREES):
                model = tree_peers.jaxlab(tree_peers.Settings(num_rounds=trees))
                timing = take_turns({"": _building(model.fit, *data)}, 2)[""]
                row[f"trees_{trees}_s"] = timing.median
            row["ns_a_row_and_tree"] = 1e9 * row[f"trees_{TREES}_s"] / num_rows / TREES
            rows.append(row)
        self.report("scaling", "jaxlab's fit by rows and trees", rows)

    def implementations(self) -> None:
        """The ways to grow a tree that are all to give the same bits."""
        num_rows = min(self.most, 100_000)
        X, y = make_data(num_rows)
        binned = boosting.bin_rows(fit_binner(X, max_bins=255), X)
        ways = {"xla histograms": ("xla", False)}
        if choose("auto") == "native":
            ways = {
                "compiled trees": ("native", True),
                "compiled histograms, trees in JAX": ("native", False),
                **ways,
            }
        forests: dict[str, Any] = {}
        calls = {
            name: _building(
                lambda name=name, way=way: forests.update(
                    {name: _grow(binned, y, *way)}
                )
            )
            for name, way in ways.items()
        }
        timings = take_turns(calls, 2)
        first = next(iter(forests.values()))
        rows = [
            {
                "way": name,
                "tree_ms": 1e3 * timing.median / FEW_TREES,
                "cold_s": timing.cold,
                "same_bits": _is_same(forests[name], first),
            }
            for name, timing in timings.items()
        ]
        self.report("implementations", f"Ways to grow trees, {num_rows:,} rows", rows)

    def gpu(self) -> None:
        """Large tables on a GPU, beside the bytes that must be moved."""
        if jax.default_backend() != "gpu":
            print("\nno GPU: that part is left out")
            return
        speed, rows = _bytes_per_second(), []
        for num_rows in (1_000_000, 11_000_000):
            data, settings = make_data(num_rows), tree_peers.Settings()
            estimators = {"jaxlab": tree_peers.jaxlab(settings)}
            if tree_peers.is_installed("xgboost"):
                estimators["xgboost"] = tree_peers.xgboost(settings, device="cuda")
            fits: dict[str, Callable[[], Any]] = {
                name: functools.partial(estimator.fit, *data)
                for name, estimator in estimators.items()
            }
            models: dict[str, Any] = {}
            timings = _turns(fits, 2, models)
            X_test, y_test = make_data(TEST_ROWS, seed=1)
            moved = TREES * _tree_bytes(num_rows)
            rows += [
                {
                    "rows": num_rows,
                    "library": tree_peers.version(name),
                    "cold_s": timing.cold,
                    "warm_s": timing.median,
                    "floor_s": moved / speed,
                    "auc": auc(y_test, tree_peers.predict(models[name], X_test)),
                }
                for name, timing in timings.items()
            ]
        title = f"Whole fit on a GPU that copies {speed / 1e9:.0f} GB a second"
        self.report("gpu", title, rows)


def _building(call: Callable[..., Any], *args: Any) -> Callable[[], Callable[[], Any]]:
    """Give what `take_turns` times: nothing is built before the call."""
    return lambda: functools.partial(call, *args)


def _fastest(timings: dict[str, Timing]) -> float:
    """Give the seconds of the fastest peer."""
    return min(timing.median for name, timing in timings.items() if name != "jaxlab")


def _turns(
    fits: Mapping[str, Callable[[], Any]], repeats: int, models: dict[str, Any]
) -> dict[str, Timing]:
    """Fit by turns, and keep the last model of each."""

    def keep(name: str) -> None:
        models[name] = fits[name]()

    return take_turns({name: _building(keep, name) for name in fits}, repeats)


def _binnings(X: np.ndarray, y: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Give what puts rows in bins, as the libraries' fits do."""

    def jaxlab() -> Any:
        return boosting.bin_rows(fit_binner(X, max_bins=255), X)

    def xgboost() -> Any:
        import xgboost

        return xgboost.QuantileDMatrix(X, y, max_bin=256)

    def lightgbm() -> Any:
        import lightgbm

        return lightgbm.Dataset(X, y, params={"verbose": -1}).construct()

    def sklearn() -> Any:
        from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper

        threads = tree_peers.num_cores()
        return _BinMapper(256, random_state=0, n_threads=threads).fit_transform(X)

    return {call.__name__: call for call in (jaxlab, xgboost, lightgbm, sklearn)}


def _grow(binned: Any, y: np.ndarray, implementation: str, is_whole: bool) -> Any:
    config = boosting.Config(
        num_rounds=FEW_TREES, learning_rate=0.1, implementation=implementation
    )
    run = boosting.prepare(
        binned,
        y.astype(np.float64),
        find_objective("binary:logistic"),
        config,
        jax.random.key(0),
    )
    tree = dataclasses.replace(run.spec.tree, is_whole=is_whole)
    run.spec = dataclasses.replace(run.spec, tree=tree)
    drive(run, FEW_TREES)
    return run.forest()


def _is_same(forest: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(forest), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _tree_bytes(num_rows: int) -> float:
    """Bytes of a tree: bins, gradients and places of the smaller children, the routing.

    Half of the rows a level after the root; histograms are small beside that.
    """
    scanned = (1 + (DEPTH - 1) / 2) * num_rows * (FEATURES + 12)
    return scanned + DEPTH * 5.0 * num_rows


def _bytes_per_second() -> float:
    """Measure a copy of a gigabyte on the device, read and written."""
    copy = jax.jit(lambda array: array + 1)
    array = jax.numpy.zeros(1 << 28, jax.numpy.int32)
    copy(array).block_until_ready()
    spent = [timed(lambda: copy(array).block_until_ready())[1] for _ in range(5)]
    return 2 * array.nbytes / statistics.median(spent)


PARTS = (
    Trees.fit,
    Trees.pieces,
    Trees.predict,
    Trees.start,
    Trees.scaling,
    Trees.implementations,
    Trees.gpu,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [part.__name__ for part in PARTS]
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--quick", action="store_true", help="at most 10,000 rows")
    options = parser.parse_args()
    use_compilation_cache()
    trees = Trees(10_000 if options.quick else 1_000_000, not options.quick)
    for part in PARTS:
        if part.__name__ in options.parts:
            part(trees)


if __name__ == "__main__":
    main()
