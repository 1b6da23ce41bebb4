"""Where content goes that is fetched to be checked, and not to be kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.files.landing import Landing
from ingest.files.partial import Partial, parts_of
from ingest.files.paths import failure

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from ingest.files.attributes import Attributes


class Nowhere(Landing):
    """Takes files as a ``Landing`` does, and drops them: nothing is written."""

    def __init__(self) -> None:
        """Make nothing."""
        self._left: dict[str, set[int]] = {}

    def close(self) -> None:
        """Do nothing."""

    def make_directory(self, path: str) -> None:
        """Do nothing."""

    def write(
        self,
        path: str,  # noqa: ARG002 - as of a landing
        content: ReadableBuffer,  # noqa: ARG002
        *,
        attributes: Attributes | None = None,  # noqa: ARG002
    ) -> bool:
        """Drop a file."""
        return True

    def open(
        self,
        path: str,
        size: int,
        *,
        part_size: int,
        identity: str | None,  # noqa: ARG002 - nothing is there to go on with
        attributes: Attributes | None = None,  # noqa: ARG002
    ) -> Partial:
        """Begin a file, or go on with one that was closed, and neither committed nor discarded."""
        parts = parts_of(size, part_size)
        left = self._left.setdefault(path, {part.number for part in parts})
        missing = tuple(part for part in parts if part.number in left)
        try:
            fd = os.open(os.devnull, os.O_RDWR)
        except OSError as error:
            raise failure(os.devnull, error) from None
        dropped = _Dropped(self._left, path)
        return Partial(path, size, parts, missing, dropped, fd, lambda: None, True, left)  # noqa: FBT003 - goes on


@dataclass(frozen=True, slots=True)
class _Dropped:
    """A file that is not to be: ``known`` has what is left of it, by ``path``."""

    known: dict[str, set[int]]
    path: str

    def finish(self, fd: int, size: int) -> bool:  # noqa: ARG002 - as of a target
        """Forget the complete file."""
        self.discard()
        return True

    def discard(self) -> None:
        """Forget the file."""
        self.known.pop(self.path, None)
