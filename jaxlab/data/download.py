"""The folder of the data, and downloads that fail fast and leave no half a file."""

import http.client
import os
import pathlib
import socket
import sys
import threading
import urllib.parse
import urllib.request

from jaxlab.core.errors import local_path
from jaxlab.core.files.replaced import replaced

__all__ = ["data_folder", "download"]

_SECONDS_TO_CONNECT = 6.0
_SECONDS_WITHOUT_BYTES = 8.0


def download(url: str, path: pathlib.Path) -> pathlib.Path:
    """Fetch a file unless it is there.

    Args:
        url: Where from.
        path: Where to; written beside as `.part` first (one a process), and renamed
            when complete.

    Raises:
        OSError: If there is no network or no answer (within ten seconds), or the
            transfer fails.
    """
    if path.is_file():
        return path
    _check_reachable(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            replaced(path, f"{path.name}.{os.getpid()}.part") as part,
            urllib.request.urlopen(url, timeout=_SECONDS_WITHOUT_BYTES) as response,
            part.open("wb") as file,
        ):
            total = int(response.headers.get("Content-Length", 0))
            while block := response.read(2**20):
                file.write(block)
                _show(path.name, file.tell(), total)
            if total and file.tell() != total:
                raise OSError(f"{url} broke off after {file.tell()} of {total} bytes")
    except http.client.HTTPException as error:
        raise OSError(f"{url} broke off: {error!r}") from error
    return path


def _check_reachable(url: str) -> None:
    """Try to connect in a thread, since looking up a name has no time-out."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = parts.port or (80 if parts.scheme == "http" else 443)
    address = (parts.hostname or "", port)
    reached: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection(address, _SECONDS_TO_CONNECT - 1).close()
            reached.append(None)
        except OSError as error:
            reached.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_SECONDS_TO_CONNECT)
    if not reached:
        raise TimeoutError(f"no answer from {address[0]}")
    if reached[0] is not None:
        raise OSError(f"cannot reach {address[0]}: {reached[0]}")


def _show(name: str, done: int, total: int) -> None:
    share = f" of {total / 1e6:.0f}" if total else ""
    end = "\n" if done == total else ""
    sys.stderr.write(f"\rdownloading {name}: {done / 1e6:.0f}{share} MB{end}")
    sys.stderr.flush()


def data_folder(data_dir: str = "") -> pathlib.Path:
    """Return the folder of data that is named, or `$TFDS_DATA_DIR`, or TFDS's own.

    Raises:
        InputError: If it is no path of this machine.
    """
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return local_path("data_dir", chosen)
