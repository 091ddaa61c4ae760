"""Progress of a fetch: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self, TextIO

MB = 1_000_000
LINE_EVERY_PERCENT = 25


class Progress(Protocol):
    """Is told how far a fetch is. Used as a context manager around one step."""

    def step(self, what: str, total_bytes: int | None) -> Step:
        """Begin a step of that many bytes; None where the size is unknown."""
        ...


class Step(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def at(self, done_bytes: int) -> None:
        """So many bytes are done. Never raises."""
        ...


class Lines:
    """One line a step and one each quarter of it, for logs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def step(self, what: str, total_bytes: int | None) -> _LineStep:
        return _LineStep(self._out, what, total_bytes)


class _LineStep:
    def __init__(self, out: TextIO, what: str, total_bytes: int | None) -> None:
        self._out, self._what, self._total = out, what, total_bytes
        self._told = 0

    def __enter__(self) -> Self:
        size = f" ({self._total // MB} MB)" if self._total else ""
        print(f"{self._what}{size}", file=self._out, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def at(self, done_bytes: int) -> None:
        if not self._total:
            return
        percent = min(100, done_bytes * 100 // self._total)
        if percent >= self._told + LINE_EVERY_PERCENT:
            self._told = percent - percent % LINE_EVERY_PERCENT
            print(f"  {percent} % of {self._total // MB} MB", file=self._out, flush=True)


class Bar:
    """A moving bar, drawn by rich."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def step(self, what: str, total_bytes: int | None) -> _BarStep:
        return _BarStep(self._out, what, total_bytes)


class _BarStep:
    def __init__(self, out: TextIO, what: str, total_bytes: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(file=out),
        )
        self._task = self._bar.add_task(what, total=total_bytes)
        self._total = total_bytes

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._total is not None:
            self._bar.update(self._task, completed=self._total)
        self._bar.stop()

    def at(self, done_bytes: int) -> None:
        done = done_bytes if self._total is None else min(done_bytes, self._total)
        self._bar.update(self._task, completed=done)


def console_progress(out: TextIO | None = None) -> Progress:
    """A bar if standard error is a terminal, else lines; on standard error, so that output stays clean."""
    stream = out if out is not None else sys.stderr
    return Bar(stream) if stream.isatty() else Lines(stream)
