"""Pairs of sequences sorted into few widths, so that little of a batch is padding.

Batch t is a function of (seed, t), as in `order`; each bucket is one shape, so a step
is compiled once a bucket.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jax.sharding import Mesh

from jaxlab.core.batch import Rows
from jaxlab.core.errors import InputError
from jaxlab.core.mesh import check_batch_size, process_rows, replicate
from jaxlab.core.typing import Batch
from jaxlab.data.order import Order
from jaxlab.data.text.bucket_shapes import best_shapes
from jaxlab.data.text.sequences import PairSource, pair_source
from jaxlab.data.text.vocabulary import PAD

__all__ = ["Bucket", "BucketOrder", "Buckets", "bucket_batches", "bucket_pairs"]


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Pairs of about one length.

    Attributes:
        pairs: Padded to the longest of this bucket.
        index: int64, `(n,)`: the position of each among all pairs that were given.
        batch_size: Pairs of a batch, over all devices.
    """

    pairs: PairSource
    index: np.ndarray
    batch_size: int


@dataclasses.dataclass(frozen=True)
class Buckets:
    """Buckets, the smallest shape first; a `Source` of all pairs that are in one.

    Attributes:
        buckets: Each with pairs of its own.
        num_dropped: Pairs that were too long, and are in none.
        num_cut: Pairs that were too long, and are cut.
    """

    buckets: tuple[Bucket, ...]
    num_dropped: int
    num_cut: int = 0

    def __len__(self) -> int:
        return sum(len(bucket.pairs) for bucket in self.buckets)

    def __str__(self) -> str:
        shapes = ", ".join(
            f"{bucket.batch_size} x ({bucket.pairs.source.shape[1]} + "
            f"{bucket.pairs.target.shape[1]})"
            for bucket in self.buckets
        )
        return (
            f"{len(self)} pairs in batches of {shapes}; {self.padding_rate:.1%} "
            f"padding, {self.num_dropped} pairs too long"
        )

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Read pairs by number, in the order in which they were given.

        Returns:
            `{"source": (b, s), "target": (b, t + 1)}`, of the largest widths.
        """
        buckets, rows = self._places[:, index]
        found: dict[str, np.ndarray] = {}
        for name in ("source", "target"):
            sides = [getattr(bucket.pairs, name) for bucket in self.buckets]
            shape = (len(index), max(side.shape[1] for side in sides))
            found[name] = np.full(shape, PAD, np.int32)
            for place, (bucket, row) in enumerate(zip(buckets, rows, strict=True)):
                side = sides[bucket][row]
                found[name][place, : len(side)] = side
        return found

    def in_order(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Join rows of all buckets, in the order in which the pairs were given."""
        index = np.concatenate([bucket.index for bucket in self.buckets])
        return np.concatenate(parts)[np.argsort(index)]

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """The bucket of each pair, and its row there."""
        sizes = [len(bucket.index) for bucket in self.buckets]
        buckets = [np.full(size, number) for number, size in enumerate(sizes)]
        rows = [np.arange(size) for size in sizes]
        return np.stack([self.in_order(buckets), self.in_order(rows)])

    @property
    def padding_rate(self) -> float:
        """Share of all batches of an epoch that is padding."""
        pairs = [bucket.pairs for bucket in self.buckets]
        size = sum(one.source.size + one.target.size for one in pairs)
        return 1 - sum(one.num_tokens for one in pairs) / size

    @property
    def steps_per_epoch(self) -> float:
        """Batches in which every pair comes once; no whole number."""
        return sum(len(one.pairs) / one.batch_size for one in self.buckets)

    def order(self, seed: int = 0) -> "BucketOrder":
        """Give the order of batches for a seed."""
        sizes = tuple(len(bucket.pairs) for bucket in self.buckets)
        return BucketOrder(sizes, tuple(one.batch_size for one in self.buckets), seed)


def bucket_pairs(
    source_ids: Sequence[Sequence[int]],
    target_ids: Sequence[Sequence[int]],
    *,
    max_len: int,
    batch_size: int = 0,
    tokens_per_batch: int = 0,
    num_buckets: int = 4,
    multiple: int = 1,
    cut: bool = False,
) -> Buckets:
    """Sort pairs into buckets of two widths each, chosen for the least padding.

    Args:
        source_ids: Ids by pair, without begin and end.
        target_ids: As many.
        max_len: The widest `source` (tokens and end) and the most inputs of a decoder
            (begin and tokens); longer pairs are dropped, or cut, and counted.
        batch_size: Pairs of a batch, on average over an epoch; or else
        tokens_per_batch: Width of a batch's sources and targets times its pairs, which
            is about equal in all buckets either way.
        num_buckets: The most buckets.
        multiple: Batch sizes are multiples of this: the devices that split them.
        cut: Keep the beginnings of longer pairs, each with an end, instead of dropping
            them: what an evaluation of all pairs needs.

    Raises:
        InputError: If a size is out of range, or all pairs are too long.
    """
    _check_sizes(batch_size, tokens_per_batch, num_buckets, multiple)
    if len(source_ids) != len(target_ids):
        raise InputError(
            f"{len(source_ids)} sources and {len(target_ids)} targets are no pairs"
        )
    num_cut = 0
    if cut and max_len > 0:
        pairs_ids = zip(source_ids, target_ids, strict=True)
        num_cut = sum(max(len(one), len(two)) >= max_len for one, two in pairs_ids)
        source_ids, target_ids = (
            [ids[: max_len - 1] for ids in side] for side in (source_ids, target_ids)
        )
    # One more for the end; a decoder reads the begin in its place.
    lengths = 1 + np.column_stack(
        [np.array([len(one) for one in ids], int) for ids in (source_ids, target_ids)]
    )
    kept = np.flatnonzero(lengths.max(axis=1, initial=0) <= max_len)
    if not len(kept):
        raise InputError(
            f"none of the {len(lengths)} pairs has at most {max_len} tokens a side "
            f"(the end included); give a larger max_len"
        )
    parts = _parted(kept, lengths[kept], num_buckets)
    pairs = [
        pair_source([source_ids[i] for i in part], [target_ids[i] for i in part])
        for part in parts
    ]
    if batch_size:
        area = sum(one.source.size + one.target.size for one in pairs)
        tokens_per_batch = round(batch_size * area / len(kept))
    buckets = [
        Bucket(one, part, _batch_size(one, tokens_per_batch, multiple))
        for one, part in zip(pairs, parts, strict=True)
    ]
    return Buckets(tuple(buckets), len(lengths) - len(kept), num_cut)


def _check_sizes(batch_size: int, tokens: int, buckets: int, multiple: int) -> None:
    if (batch_size > 0) == (tokens > 0) or batch_size < 0 or tokens < 0:
        raise InputError(
            f"batch_size {batch_size} and tokens_per_batch {tokens}: exactly one of "
            "them must be given, over 0"
        )
    if buckets < 1 or multiple < 1:
        raise InputError(
            f"num_buckets {buckets} and multiple {multiple} must be at least 1"
        )


def _batch_size(pairs: PairSource, tokens: int, multiple: int) -> int:
    """Fill a batch, but with no more pairs than there are, so that none comes twice."""
    width = pairs.source.shape[1] + pairs.target.shape[1]
    size = min(round(tokens / width / multiple), len(pairs) // multiple)
    return max(size, 1) * multiple


def _parted(kept: np.ndarray, lengths: np.ndarray, count: int) -> list[np.ndarray]:
    """Part pairs: each is in the first of the shapes that it fits."""
    which = np.full(len(kept), count)
    for number, shape in reversed(list(enumerate(best_shapes(lengths, count)))):
        which[(lengths <= shape).all(axis=1)] = number
    parts = [kept[which == number] for number in range(count)]
    return [part for part in parts if len(part)]


@dataclasses.dataclass(frozen=True)
class BucketOrder:
    """Which bucket, and which of its rows, make batch t: a pure function of (seed, t).

    Every bucket has an endless `Order` of its own, so that no row is dropped; an epoch
    takes as many batches of each as end in it, shuffled. Random access: batch 123456
    costs no more than batch 0.

    Attributes:
        sizes: Rows by bucket.
        batch_sizes: Rows of a batch by bucket.
        seed: Of all shuffles.
    """

    sizes: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        assert self._orders  # its errors are those of a wrong size or seed

    def __call__(self, step: int) -> tuple[int, np.ndarray]:
        """Give the bucket of batch `step`, and the row numbers in it, int32."""
        per_epoch = sum(one.size / one.batch_size for one in self._orders)
        epoch = int(step / per_epoch)
        # Rounding of what ends before an epoch may have moved it by a few batches.
        while sum(self._before(epoch)) > step:
            epoch -= 1
        while sum(self._before(epoch + 1)) <= step:
            epoch += 1
        before = self._before(epoch)
        kinds = _epoch_kinds(self, epoch)
        place = step - sum(before)
        bucket = int(kinds[place])
        number = before[bucket] + int((kinds[:place] == bucket).sum())
        return bucket, self._orders[bucket](number)

    @functools.cached_property
    def _orders(self) -> list[Order]:
        pairs = zip(self.sizes, self.batch_sizes, strict=True)
        return [Order(size, batch_size, self.seed) for size, batch_size in pairs]

    def _before(self, epoch: int) -> list[int]:
        """Count the batches of each bucket that have ended when an epoch begins."""
        return [epoch * one.size // one.batch_size for one in self._orders]


@functools.lru_cache(maxsize=2)
def _epoch_kinds(order: BucketOrder, epoch: int) -> np.ndarray:
    """Give the buckets of the batches of an epoch, shuffled."""
    counts = np.subtract(order._before(epoch + 1), order._before(epoch))
    # Another stream than that of the rows, which `Order` draws with the plain seed.
    rng = np.random.Generator(np.random.Philox(key=[order.seed + 2**32, epoch]))
    return rng.permutation(np.repeat(np.arange(len(counts)), counts))


def bucket_batches(
    buckets: Buckets, seed: int, mesh: Mesh
) -> Callable[[int], Iterator[Batch]]:
    """Keep the buckets on every device, and send only row numbers.

    Args:
        buckets: What to train on.
        seed: Of the order.
        mesh: The mesh, which must be able to split each batch.

    Returns:
        A function from a step to the batches from that step on, as the one of
        `resident_batches`; their shapes are those of the buckets.
    """
    arrays = [
        replicate(one.pairs.rows(np.arange(len(one.pairs))), mesh)
        for one in buckets.buckets
    ]
    for one in buckets.buckets:
        check_batch_size(one.batch_size, mesh)
    shares = [process_rows(one.batch_size, mesh) for one in buckets.buckets]
    order = buckets.order(seed)

    def batches(start: int) -> Iterator[Batch]:
        step = start
        while True:
            bucket, rows = order(step)
            yield Rows(arrays[bucket], rows[shares[bucket]])
            step += 1

    return batches
