"""The first signal asks, the second one acts."""

import signal
import threading

import pytest

from jaxlab.runs.interrupts import Interrupts


def send(signum):
    """Send a signal to this thread, where Python acts on it before it returns.

    To the process, another thread may take it, and this one acts on it later.
    """
    signal.raise_signal(signum)


@pytest.fixture
def usual():
    """Set Python's own handler: a shell's background jobs start without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_sets_a_flag(signum):
    before = signal.getsignal(signum)
    with Interrupts() as interrupts:
        assert interrupts.received is None
        send(signum)
        assert interrupts.received == signum
    assert signal.getsignal(signum) is before


def test_the_second_ctrl_c_acts_as_usual(usual):
    with Interrupts():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_handlers_return_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError), Interrupts():
        raise RuntimeError
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_are_left_alone():
    results = []

    def work():
        with Interrupts() as interrupts:
            results.append(interrupts.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [None]
