"""TensorBoard's copy of the rows of a run."""

import concurrent.futures
import pathlib
import time
from typing import Any

__all__ = ["Events"]

Row = dict[str, Any]

_FLUSH_SECONDS = 1.0  # of rows may be lost to a kill; a resumed run writes them again


class Events:
    """Writes event files, on a thread: only to import the library takes a second.

    The rows of `metrics.jsonl` are what counts; these files are a copy. So a copy that
    cannot be written does not stop a run, and a resumed run writes it anew.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        """Start the thread; nothing is written yet.

        Args:
            folder: Where the event files lie.
        """
        self._folder = folder
        self._writer: Any = None
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._failure = ""
        self._flushed, self._is_closed = 0.0, False

    def begin(self, rows: list[Row]) -> None:
        """Replace the files of earlier sessions, whose ends a kill may have cut off.

        Args:
            rows: The rows that count, as `add` takes them.
        """
        if rows or self._folder.exists():
            self._thread.submit(self._guarded, self._begin, rows)

    def add(self, row: Row) -> None:
        """Write a row: its `step`, and numbers by name."""
        self._thread.submit(self._guarded, self._add, row)

    def close(self) -> str:
        """Wait until all is written.

        Returns:
            What went wrong, in a line; empty if nothing did.
        """
        if not self._is_closed:
            self._is_closed = True
            self._thread.submit(self._guarded, self._end)
            self._thread.shutdown()
        return self._failure

    def _guarded(self, write: Any, *args: Any) -> None:
        if self._failure:
            return
        try:
            write(*args)
        # A full disk, a folder that is gone, a broken install: none stops a run.
        except Exception as error:
            self._failure = f"TensorBoard's events were not written: {error}"

    def _begin(self, rows: list[Row]) -> None:
        for file in self._folder.glob("events.out.tfevents.*"):
            file.unlink()
        for row in rows:
            self._write(row)
        self._flush()

    def _add(self, row: Row) -> None:
        self._write(row)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def _write(self, row: Row) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if self._writer is None:
            self._folder.mkdir(exist_ok=True)
            self._writer = EventsWriter(str(self._folder / "events"))
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name != "step"
        ]
        event = Event(wall_time=time.time(), step=row["step"])
        event.summary.value.extend(values)
        self._writer.write_event(event)

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        if self._writer is not None:
            self._writer.flush()

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
