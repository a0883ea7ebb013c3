"""Batches from an order: gathered on the device, or streamed by worker processes.

Both paths give the same rows in the same order for the same seed, as uint8; floats
and augmentation are made inside the jitted step.
"""

import dataclasses
import signal
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from jaxlab.core.batch import Rows
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import process_rows, replicate
from jaxlab.core.typing import Batch

__all__ = [
    "RowOrder",
    "Source",
    "evaluation_batches",
    "resident_batches",
    "streamed_batches",
    "training_batches",
]

_FITS_ON_DEVICE = 2 * 2**30  # bytes


@runtime_checkable
class Source(Protocol):
    """Random access to the examples of a data set; must survive pickling."""

    def __len__(self) -> int:
        """Count the examples."""

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Read examples by number, stacked: `{"image": uint8, "label": int32}`."""


@runtime_checkable
class RowOrder(Protocol):
    """Which rows make each batch, by random access; must survive pickling."""

    @property
    def batch_size(self) -> int:
        """Rows of a batch, over all devices; a batch may have a multiple of them."""

    def __call__(self, step: int) -> np.ndarray:
        """Give the row numbers of batch `step`, int32."""


@dataclasses.dataclass(frozen=True)
class _Share:
    """This process's part of a batch of any size: `start` to `stop` of `whole`."""

    start: int
    stop: int
    whole: int

    def of(self, rows: np.ndarray) -> np.ndarray:
        count = len(rows)
        start, stop = count * self.start, count * self.stop
        return rows[start // self.whole : stop // self.whole]


def _share(batch_size: int, mesh: Mesh | None) -> _Share:
    if mesh is None:
        return _Share(0, 1, 1)
    rows = process_rows(batch_size, mesh)
    return _Share(rows.start, rows.stop, batch_size)


def training_batches(
    source: Source, order: RowOrder, mesh: Mesh, workers: int | None = None
) -> Callable[[int], Iterator[Batch]]:
    """Choose between the two paths.

    Args:
        source: The data set.
        order: Which rows make each batch.
        mesh: The mesh.
        workers: Processes that stream; 0 streams in this one; None keeps the set on
            the device if it takes at most 2 GB there, else streams in this one.

    Returns:
        A function from a step to the batches from that step on.
    """
    if workers is None and _fits(source):
        return resident_batches(source, order, mesh)
    return streamed_batches(source, order, mesh, workers=workers or 0)


def _fits(source: Source) -> bool:
    """Tell whether a set fits the memory of a device, which virtual ones share."""
    first = source.rows(np.arange(1))
    size = len(source) * sum(array.nbytes for array in first.values())
    on_cpu = jax.default_backend() == "cpu"
    return size * (jax.local_device_count() if on_cpu else 1) <= _FITS_ON_DEVICE


def resident_batches(
    source: Source, order: RowOrder, mesh: Mesh
) -> Callable[[int], Iterator[Batch]]:
    """Keep the data set on every device, and send only row numbers.

    The fastest way for what fits: CIFAR-10 takes 154 MB.

    Returns:
        A function from a step to the batches from that step on.
    """
    arrays = replicate(source.rows(np.arange(len(source))), mesh)
    share = _share(order.batch_size, mesh)

    def batches(start: int) -> Iterator[Batch]:
        step = start
        while True:
            yield Rows(arrays, share.of(order(step)))
            step += 1

    return batches


@dataclasses.dataclass(frozen=True)
class _BatchReader:
    """Batch t by random access, as grain wants it; this process's rows only."""

    source: Source
    order: RowOrder
    share: _Share
    start: int

    def __len__(self) -> int:
        return 2**40  # batches never end; grain wants a length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rows = self.order(self.start + int(index))
        return self.source.rows(self.share.of(rows))


def streamed_batches(
    source: Source, order: RowOrder, mesh: Mesh | None = None, *, workers: int = 0
) -> Callable[[int], Iterator[Batch]]:
    """Read each batch when it is due, ahead of the step, through grain.

    For data sets larger than the memory of a device. Whole batches are given to the
    workers, so their order does not depend on how many there are.

    Args:
        source: The data set.
        order: Which rows make each batch.
        mesh: Says which rows this process loads; None: all.
        workers: Processes that read; 0 reads ahead in threads of this one. More than
            0 needs a script guarded by `if __name__ == "__main__"`.

    Returns:
        A function from a step to the batches from that step on.
    """
    if workers < 0:
        raise InputError(f"workers {workers} must be 0 (threads) or more (processes)")
    share = _share(order.batch_size, mesh)

    def batches(start: int) -> Iterator[Batch]:
        import grain

        # A training set has no end, so grain's own repetition is not wanted.
        reader = _BatchReader(source, order, share, start)
        data = grain.MapDataset.source(reader)
        if workers == 0:
            return iter(data.to_iter_dataset(grain.ReadOptions(num_threads=2)))
        _let_grain_start_processes()
        sequential = data.to_iter_dataset(grain.ReadOptions(num_threads=1))
        options = grain.MultiprocessingOptions(num_workers=workers)
        return iter(sequential.mp_prefetch(options, _ignore_signals))

    return batches


def _ignore_signals(index: int, count: int) -> None:
    """Leave Ctrl-C, which reaches the workers too, to the process that saves."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)


def _let_grain_start_processes() -> None:
    """Parse absl's flags, which grain reads in its workers' parent (grain #1360)."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def evaluation_batches(
    source: Source, batch_size: int, mesh: Mesh
) -> Callable[[], Iterator[tuple[Batch, int]]]:
    """Give every example once, in order, the last batch padded to full size.

    Args:
        source: The data set; kept on the device if it takes at most 2 GB there.
        batch_size: Rows of a batch, rounded up to what the mesh can split.
        mesh: The mesh.

    Returns:
        A function to iterate anew over pairs `(batch, size)`: the first `size` rows
        of the batch are examples, the rest repeats the last one.
    """
    size = len(source)
    batch_size += -batch_size % mesh.size
    share = process_rows(batch_size, mesh)
    arrays: Any = None
    if _fits(source):
        arrays = replicate(source.rows(np.arange(size)), mesh)

    def batches() -> Iterator[tuple[Batch, int]]:
        for start in range(0, size, batch_size):
            index = np.minimum(np.arange(start, start + batch_size), size - 1)
            index = index[share].astype(np.int32)
            batch = source.rows(index) if arrays is None else Rows(arrays, index)
            yield batch, min(batch_size, size - start)

    return batches
