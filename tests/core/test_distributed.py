"""Reading how to join the other processes."""

import socket
import threading
import time

import jax
import pytest

from jaxlab.core import distributed as module
from jaxlab.core.distributed import connect, is_main_process
from jaxlab.core.errors import InputError


@pytest.fixture
def calls(monkeypatch):
    """Record how `jax.distributed.initialize` is called."""
    calls = []

    def initialize(*args, **options):
        calls.append((args, options))

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    return calls


def test_no_text_is_a_single_process(calls):
    connect("")
    assert not calls
    assert is_main_process()


def test_auto_leaves_it_to_the_cluster(calls):
    connect("auto")
    assert calls == [((), {})]


@pytest.fixture
def port():
    """Give a port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def listener(port):
    """Listen at a port."""
    with socket.create_server(("127.0.0.1", port)):
        yield port


def test_an_address_with_two_numbers_is_passed_on(calls, listener):
    address = f"127.0.0.1:{listener}"
    connect(f"{address},4,3")
    options = {"num_processes": 4, "process_id": 3}
    assert calls == [((), {"coordinator_address": address, **options})]


def test_the_first_process_listens_where_nobody_does(calls, port):
    connect(f"127.0.0.1:{port},2,0")
    assert len(calls) == 1


def test_a_port_that_is_taken_is_refused(calls, listener):
    with pytest.raises(InputError, match=f"at port {listener} .*in use.*; give a port"):
        connect(f"127.0.0.1:{listener},2,0")
    assert not calls


@pytest.mark.parametrize("host", ["127.0.0.1", "absent.invalid"])
def test_an_address_where_nobody_answers_is_refused(calls, monkeypatch, port, host):
    monkeypatch.setattr(module, "_SECONDS_TO_WAIT", 0.1)
    with pytest.raises(InputError, match=f"nobody answers at {host}:{port} .* index 0"):
        connect(f"{host}:{port},2,1")
    assert not calls


def test_a_process_waits_for_the_first_one(calls, port):
    def listen():
        server.append(socket.create_server(("127.0.0.1", port)))

    server = []
    timer = threading.Timer(0.3, listen)
    timer.start()
    connect(f"127.0.0.1:{port},2,1")
    timer.join()
    server[0].close()
    assert len(calls) == 1


def test_auto_outside_a_cluster_is_one_line(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", fail("coordinator_address.\n a"))
    with pytest.raises(InputError, match=r"'auto'.* joined \(coordinator_address\);"):
        connect("auto")


def fail(message):
    """Give a function that raises."""

    def initialize(*args, **options):
        raise ValueError(message)

    return initialize


def test_missing_processes_are_told(monkeypatch, capsys, port):
    monkeypatch.setattr(module, "_SECONDS_OF_SILENCE", 0.0)
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *args, **options: time.sleep(0.2)
    )
    connect(f"127.0.0.1:{port},2,0")
    assert "waiting for the other processes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "10.0.0.1",
        "10.0.0.1,2,0",
        "host:1",
        "host:1,2",
        "host:1,2,0,0",
        "host:1,2,x",
        "host:1,2,-1",
        "host:1,2,2",
        "host:1,0,0",
        "host:99999,2,0",
        "host:0,2,0",
        ":80,2,0",
        "host:a,2,0",
    ],
)
def test_any_other_text_is_an_error_that_shows_the_form(calls, text):
    with pytest.raises(InputError, match=r"HOST:PORT,PROCESSES,INDEX"):
        connect(text)
    assert not calls


def test_other_processes_are_not_the_main_one(monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert not is_main_process()
