"""A folder that one process has to itself."""

import contextlib
import datetime
import itertools
import pathlib
import shutil
from collections.abc import Iterator
from typing import TextIO

import jax

from jaxlab.core.distributed import is_main_process
from jaxlab.core.errors import InputError, local_path

try:
    import fcntl
except ImportError:  # no advisory locks on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["ClaimedFolder"]

_LOCK = ".lock"


class ClaimedFolder:
    """A folder, found or made, and locked until `release`.

    Attributes:
        path: Where it is.
        is_new: Whether it was made for this, or was empty.
    """

    def __init__(self, run_dir: str, parent: pathlib.Path) -> None:
        """Find or make the folder of a run, and lock it.

        Args:
            run_dir: The folder; empty: a new one, named by the time.
            parent: Where that is made.

        Raises:
            InputError: If it cannot be made, is in use, or holds something else.
        """
        self._is_made = False  # by this session
        self._lock: TextIO | None = None
        self.path = local_path("run_dir", run_dir) if run_dir else _named(parent)
        with _telling(self.path):
            if not self.path.exists():
                self.path.mkdir(parents=True, exist_ok=True)
                self._is_made = True
            self._is_made |= not run_dir
            (self.path / _LOCK).touch()
            found = {file.name for file in self.path.iterdir()}
        found -= {_LOCK, "config.json.part"}
        self.is_new = not found
        if not is_main_process():
            return
        if found and "config.json" not in found:
            raise InputError(
                f"folder {self.path} is neither empty nor a run folder; give another "
                "--run-dir"
            )
        self._lock = self._take_lock()

    def _take_lock(self) -> TextIO:
        lock = (self.path / _LOCK).open("w")
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise InputError(
                f"run folder {self.path} is in use by another process; wait for it, "
                "or give another --run-dir"
            ) from None
        return lock

    def release(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            self._lock.close()

    def remove(self, *names: str) -> None:
        """Remove files and folders that this session has put into a new folder.

        The folder itself goes too, if this session has made it and nothing else is in
        it.
        """
        for name in (*names, _LOCK):
            made = self.path / name
            if made.is_dir():
                shutil.rmtree(made)
            else:
                made.unlink(missing_ok=True)
        if self._is_made:
            with contextlib.suppress(OSError):  # somebody has put a file there
                self.path.rmdir()


def _named(parent: pathlib.Path) -> pathlib.Path:
    """Make a folder whose name is the time."""
    if jax.process_count() > 1:
        raise InputError("several processes need one run folder: give --run-dir")
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        path = parent / (now if number == 1 else f"{now}-{number}")
        # Made at once: another run of the same second then takes the next name.
        with _telling(parent), contextlib.suppress(FileExistsError):
            parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            return path
    raise AssertionError


@contextlib.contextmanager
def _telling(path: pathlib.Path) -> Iterator[None]:
    """Tell in a line why a folder cannot be made."""
    try:
        yield
    except OSError as error:
        why = error.strerror
        if path.is_symlink() and not path.exists():
            why = f"it is a link to {path.readlink()}, which is not there"
        raise InputError(
            f"run folder {path} cannot be made or written ({why}); give another "
            "--run-dir"
        ) from None
