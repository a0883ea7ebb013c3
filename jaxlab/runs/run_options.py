"""The flags that every experiment has."""

import dataclasses
from typing import Literal, TypeAlias

from jaxlab.core.ranges import Count, Natural

__all__ = ["EngineName", "RunOptions"]

EngineName: TypeAlias = Literal["jit", "pmap"]


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where and how a run runs, not what it computes: free to differ on resume."""

    run_dir: str = ""
    """Run folder; the same again resumes. Empty: runs/EXPERIMENT/TIME"""
    data_dir: str = ""
    """Folder of the data. Empty: $TFDS_DATA_DIR, else ~/tensorflow_datasets"""
    mesh: str = ""
    """Devices by axis, as data=2,fsdp=4. Empty: all on data"""
    stream_workers: Natural | None = None
    """Processes that stream the data; 0: this one; None: none, if it fits the device"""
    engine: EngineName = "jit"
    """jit, or pmap: data parallel through the older interface"""
    distributed: str = ""
    """Join the processes of a cluster: auto, or HOST:PORT,PROCESSES,INDEX"""
    log_every: Count = 20
    """Updates between two rows of metrics"""
    save_every: Count = 1000
    """Updates between two checkpoints, beside those at evaluations"""
