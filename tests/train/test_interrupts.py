"""The first signal asks, the second one acts."""

import os
import signal
import threading

import pytest

from jaxlab.train.interrupts import Interrupts


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_sets_a_flag(signum):
    before = signal.getsignal(signum)
    with Interrupts() as interrupts:
        assert interrupts.received is None
        os.kill(os.getpid(), signum)
        assert interrupts.received == signum
    assert signal.getsignal(signum) is before


def test_the_second_ctrl_c_acts_as_usual():
    with Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


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
