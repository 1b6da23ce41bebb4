"""Files that were asked for by name, and that a scan did not find."""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING

from ingest.files.scan import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ingest.storage.base import Entry


class Missed:
    """Which of ``names`` a scan of ``root`` has neither yielded nor reported."""

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        """Look at nothing yet."""
        self._root = root
        self._left = dict.fromkeys(names)

    def seen(self, problem: Problem) -> None:
        """Take note of what the scan reports."""
        self._left.pop(problem.key, None)

    def follow(
        self, entries: Iterable[Entry], report: Callable[[Problem], None]
    ) -> Iterator[Entry]:
        """Yield ``entries``, and in the end report each name that was missed, and why."""
        for entry in entries:
            self._left.pop(entry.key, None)
            yield entry
        for name in self._left:
            report(Problem(name, "missing", self._why(name)))

    def _why(self, name: str) -> str:
        path = self._root / name
        if name != posixpath.normpath(name) or name.startswith(("/", "../")) or name == "..":
            return f"{name!r} is no path below {self._root}, without a '.', '..' or '//'"
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return f"{path} does not exist"
        except (OSError, ValueError) as error:
            return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        if stat.S_ISDIR(found.st_mode):
            return f"{path} is a directory: name its files"
        return f"{path} is behind a symbolic link, or in a directory that cannot be read"
