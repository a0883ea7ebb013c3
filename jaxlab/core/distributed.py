"""Joining the other processes of a run on many machines."""

import jax

from jaxlab.core.errors import InputError

__all__ = ["connect", "is_main_process"]


def connect(text: str) -> None:
    """Join the processes of this run; must come before any other use of JAX.

    Args:
        text: Empty for a single process; `auto` where the cluster tells (TPU, SLURM,
            Open MPI); or `HOST:PORT,PROCESSES,INDEX`.

    Raises:
        InputError: If the text has another form.
    """
    if not text:
        return
    if text == "auto":
        jax.distributed.initialize()
        return
    address, *numbers = text.split(",")
    is_pair = len(numbers) == 2 and all(map(str.isdecimal, numbers))
    if ":" not in address or not is_pair or int(numbers[1]) >= int(numbers[0]):
        raise InputError(
            f"distributed {text!r} is neither 'auto' nor HOST:PORT,PROCESSES,INDEX "
            "with INDEX below PROCESSES, such as 10.0.0.1:1234,2,0"
        )
    count, index = map(int, numbers)
    jax.distributed.initialize(address, num_processes=count, process_id=index)


def is_main_process() -> bool:
    """Tell whether this process writes logs, plots and summaries."""
    return jax.process_index() == 0
