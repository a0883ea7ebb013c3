"""Other data have another name."""

import numpy as np

from jaxlab.data.fingerprint import fingerprint_sources
from jaxlab.data.images.image_set import ArraySource


def test_the_name_is_that_of_the_contents(rng):
    images = rng.integers(0, 255, (20, 2, 2, 1), dtype=np.uint8)
    labels = np.arange(20, dtype=np.int32)
    whole = ArraySource(images, labels)
    name = fingerprint_sources(whole, whole)
    assert name == fingerprint_sources(ArraySource(images.copy(), labels), whole)
    others = [
        (whole,),
        (whole, ArraySource(images, labels[::-1].copy())),
        (ArraySource(images[:19], labels[:19]), whole),
        (ArraySource(images.reshape(20, 4, 1, 1), labels), whole),
    ]
    assert len({name, *(fingerprint_sources(*other) for other in others)}) == 5
