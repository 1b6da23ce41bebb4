"""Progress on a terminal: bytes, files, rate and time left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from ingest.cli.text import human_size, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from rich.progress import Task


class Live:
    """A line at the bottom of the terminal that is stderr."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._progress = Progress(
            TextColumn("{task.fields[files]}", table_column=Column(no_wrap=True)),
            BarColumn(),
            _Sizes(Column(no_wrap=True)),
            _Rate(Column(no_wrap=True)),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            # Lines come through ``line`` where they are for the terminal.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None, files="0 files")
        self._files = 0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Take the progress away."""
        self._ended.set()
        self._progress.stop()

    def expect(self, sizes: Iterator[int]) -> None:
        """Read ``sizes`` in the background, for as long as this is shown; the last is the total.

        Where there is none, the total stays unknown.
        """

        def read() -> None:
            total = None
            for size in sizes:
                total = size
                if self._ended.is_set():
                    return
            self._progress.update(self._task, total=total)

        threading.Thread(target=read, daemon=True).start()

    def moved(self, size: int) -> None:
        """Count ``size`` more bytes."""
        self._progress.advance(self._task, size)

    def count(self) -> None:
        """Count one more file."""
        self._files += 1
        told = f"{self._files:,} file{'' if self._files == 1 else 's'}"
        self._progress.update(self._task, files=told)

    def line(self, text: str) -> None:
        """Show a line above the progress."""
        self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class _Sizes(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = "" if task.total is None else f" of {human_size(task.total)}"
        return Text(f"{human_size(task.completed)}{total}", style="progress.download")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        text = "" if rate is None else f"{human_size(rate)}/s"
        return Text(text, style="progress.data.speed")
