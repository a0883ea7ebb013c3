"""Downloads from a server of this machine: whole files or none, and no waiting."""

import contextlib
import http.server
import pathlib
import socket
import threading
import time
import urllib.request

import pytest

from jaxlab.data import download as module
from jaxlab.data.download import download

CONTENT = bytes(range(256)) * 8000  # two blocks of a megabyte


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the whole file, half of it, or nothing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = pathlib.PurePosixPath(self.path).name
        if name == "absent":
            self.send_error(404)
            return
        self.send_response(200)
        if name == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
        elif name != "unsized":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if name == "half":
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
        elif name == "chunks":
            self.wfile.write(b"ff\r\nless than announced")
        elif name == "stalled":
            self.wfile.write(CONTENT[:100])
            time.sleep(1)
        else:
            self.wfile.write(CONTENT)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Connect directly, whatever the machine's settings."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def server():
    """The address of a running server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["file", "unsized"])
def test_a_file_arrives_whole_and_alone(server, tmp_path, name, capsys):
    path = tmp_path / "deep" / "file.bin"
    assert download(f"{server}/{name}", path) == path
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert "downloading file.bin: 2" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_fetched_again(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    assert download("http://absent.invalid/file", path) == path
    assert path.read_bytes() == b"mine"


def test_while_it_arrives_the_file_has_another_name(server, tmp_path, monkeypatch):
    seen = []

    def look(*_):
        seen.extend(file.name for file in tmp_path.iterdir())

    monkeypatch.setattr(module, "_show", look)
    download(f"{server}/file", tmp_path / "file.bin")
    assert seen
    assert all(n.startswith("file.bin.") and n.endswith(".part") for n in seen)


@pytest.mark.parametrize("name", ["half", "chunks"])
def test_a_transfer_that_breaks_off_is_an_error_and_leaves_nothing(
    server, tmp_path, name
):
    with pytest.raises(OSError, match="broke off"):
        download(f"{server}/{name}", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_transfer_that_stalls_times_out_and_leaves_nothing(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "_SECONDS_WITHOUT_BYTES", 0.2)
    with pytest.raises(TimeoutError):
        download(f"{server}/stalled", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_an_absent_file_is_an_error_with_its_number(server, tmp_path):
    with pytest.raises(OSError, match="404"):
        download(f"{server}/absent", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_closed_port_is_an_error_at_once(tmp_path):
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port = free.getsockname()[1]
        with pytest.raises(OSError, match=r"cannot reach 127\.0\.0\.1"):
            download(f"http://127.0.0.1:{port}/file", tmp_path / "file")


def test_a_network_that_swallows_everything_times_out(tmp_path, monkeypatch):
    release = threading.Event()

    def hang(*_):
        release.wait(5)
        raise OSError("released")

    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setattr(module, "_SECONDS_TO_CONNECT", 0.1)
    with pytest.raises(TimeoutError, match=r"no answer from absent\.invalid"):
        download("https://absent.invalid/file", tmp_path / "file")
    release.set()


def test_no_single_wait_takes_ten_seconds():
    assert module._SECONDS_TO_CONNECT < 10
    assert module._SECONDS_WITHOUT_BYTES < 10


def test_a_proxy_is_used_where_there_is_one(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it read the settings before
    path = download("http://absent.invalid/file", tmp_path / "file")
    assert path.read_bytes() == CONTENT
