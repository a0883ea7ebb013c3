"""Image files for tests."""

import io

import numpy as np
from PIL import Image


def encoded(array, kind="png", **options):
    """The bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def write_image(path, value, shape=(4, 5, 3)):
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def all_rows(source):
    return source.rows(np.arange(len(source)))
