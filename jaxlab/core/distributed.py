"""Joining the other processes of a run on many machines."""

import socket
import sys
import threading
import time
from typing import Any

import jax

from jaxlab.core.errors import InputError

__all__ = ["connect", "is_main_process"]

_SECONDS_TO_WAIT = 60.0  # for the first process to listen
_SECONDS_OF_SILENCE = 5.0  # before the others are told to be missing


def connect(text: str) -> None:
    """Join the processes of this run; must come before any other use of JAX.

    Args:
        text: Empty for a single process; `auto` where the cluster tells (TPU, SLURM,
            Open MPI); or `HOST:PORT,PROCESSES,INDEX`, the address that of the first.

    Raises:
        InputError: If the text has another form, there is no cluster, the port of the
            first process is taken, or nobody listens there within a minute.
    """
    if not text:
        return
    if text == "auto":
        _initialize(text)
        return
    address, *numbers = text.split(",")
    host, _, port = address.rpartition(":")
    is_pair = len(numbers) == 2 and all(map(str.isdecimal, numbers))
    is_address = host and port.isdecimal() and 0 < int(port) < 2**16
    if not is_address or not is_pair or int(numbers[1]) >= int(numbers[0]):
        raise InputError(
            f"distributed {text!r} is neither 'auto' nor HOST:PORT,PROCESSES,INDEX "
            "with INDEX below PROCESSES, such as 10.0.0.1:1234,2,0"
        )
    count, index = map(int, numbers)
    # JAX would wait for minutes, and then end the process with a stack of C++.
    if index == 0:
        _check_free(text, int(port))
    else:
        _await_listener(text, host.strip("[]"), int(port))
    options = {"num_processes": count, "process_id": index}
    _initialize(text, coordinator_address=address, **options)


def _check_free(text: str, port: int) -> None:
    """Refuse a port that another program listens at."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise InputError(
            f"distributed {text!r}: this process cannot listen at port {port} "
            f"({error.strerror}); give a port that is free on its machine"
        ) from None


def _await_listener(text: str, host: str, port: int) -> None:
    """Wait until somebody listens at an address, as the first process will."""
    end = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        try:
            left = max(end - time.monotonic(), 0.1)
            socket.create_connection((host, port), left).close()
            return
        except OSError as error:  # unknown, refused, or no answer
            is_unknown = isinstance(error, socket.gaierror)
            if is_unknown or time.monotonic() > end:
                raise InputError(
                    f"distributed {text!r}: nobody answers at {host}:{port} "
                    f"({error.strerror or error}); start the process of index 0 on "
                    "that machine, with the same address"
                ) from None
        time.sleep(0.2)


def _initialize(text: str, **options: Any) -> None:
    tell = threading.Timer(_SECONDS_OF_SILENCE, _tell_of_waiting, (text,))
    tell.daemon = True
    tell.start()
    try:
        jax.distributed.initialize(**options)
    except (RuntimeError, ValueError) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"distributed {text!r}: the processes cannot be joined ({why}); 'auto' is "
            "for processes that a cluster starts (TPU, SLURM, Open MPI): elsewhere "
            "give HOST:PORT,PROCESSES,INDEX, such as 10.0.0.1:1234,2,0"
        ) from None
    finally:
        tell.cancel()


def _tell_of_waiting(text: str) -> None:
    sys.stderr.write(f"distributed {text!r}: waiting for the other processes\n")
    sys.stderr.flush()


def is_main_process() -> bool:
    """Tell whether this process writes logs, plots and summaries."""
    return jax.process_index() == 0
