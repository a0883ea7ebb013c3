"""Finding an image set by name or path."""

import dataclasses

from jaxlab.core.errors import InputError, local_path, meant
from jaxlab.data.batches import Source
from jaxlab.data.download import data_folder
from jaxlab.data.images.decode import resize_images
from jaxlab.data.images.image_set import ArraySource, ImageData, ImageSplits
from jaxlab.data.images.splits import divide

__all__ = ["find_images"]


def find_images(
    name: str, data_dir: str = "", *, image_size: int = 0, valid_rate: float = 0.0
) -> ImageData:
    """Find an image set; never another one in its stead.

    A split that the set names (`train`, `valid`, `test`, see `splits`) is taken as it
    is; what it does not name is cut from the others, see `divide`.

    Args:
        name: `digits` (ships with scikit-learn, always there); `cifar10`, `cifar100`,
            `mnist` or any TFDS image set with labels (`NAME` or `NAME/CONFIG`); a path
            to an `.npz` file; a path to a folder of images with one folder a class,
            see `image_folders`.
            Of a set and a folder of one name the set counts: write `./NAME`.
        data_dir: Folder of TFDS sets and archives; empty: `$TFDS_DATA_DIR`, or TFDS's
            own.
        image_size: Resize images to this many pixels a side (shorter side scaled, then
            centre cropped); 0: as they are.
        valid_rate: Share of the training rows to choose a checkpoint by, where the set
            names no validation split; 0: nothing is chosen, and all rows trained on.

    Returns:
        The data, with every image uint8.

    Raises:
        InputError: Within ten seconds, if the set is not there and cannot be fetched,
            with the place to put it.
    """
    if image_size < 0:
        raise InputError(
            f"image_size {image_size} must be 0 (as stored) or more pixels"
        )
    return divide(_find(name, data_dir, image_size), valid_rate)


def _find(name: str, data_dir: str, image_size: int) -> ImageSplits:
    # Each source brings libraries of its own, loaded only when asked for.
    if name == "digits":
        from jaxlab.data.images.local_images import digits

        return _resized(digits(), image_size)
    path = local_path("data", name)
    if path.suffix == ".npz":
        from jaxlab.data.images.local_images import npz_images

        return _resized(npz_images(path), image_size)
    folder = data_folder(data_dir)
    from jaxlab.data.images.archives import ARCHIVES, archive_images
    from jaxlab.data.images.tfds_images import tfds_images

    found = tfds_images(name, folder, image_size)
    if found is not None:
        return found
    if name in ARCHIVES:
        return _resized(archive_images(name, folder), image_size)
    if path.is_dir():
        from jaxlab.data.images.image_folders import folder_images

        return folder_images(path, image_size)
    close = meant(name, ("digits", "mnist", *ARCHIVES))
    raise InputError(
        f"data {name!r}{close} was not found: no prepared TFDS set in {folder / name} "
        "and no folder or .npz file of that name; prepare it with TFDS in array_record "
        "format and give --data-dir or TFDS_DATA_DIR, or try --data digits, which "
        "needs no files"
    )


def _resized(found: ImageSplits, size: int) -> ImageSplits:
    """Resize sets that come as arrays."""
    if not size or found.shape[:2] == (size, size):
        return found

    def resize(source: Source) -> ArraySource:
        assert isinstance(source, ArraySource)
        return ArraySource(resize_images(source.image, size), source.label)

    return dataclasses.replace(
        found,
        train=resize(found.train),
        valid=None if found.valid is None else resize(found.valid),
        test=None if found.test is None else resize(found.test),
        shape=(size, size, found.shape[2]),
    )
