"""Deletes inside a directory, whatever takes the place of the directories below it meanwhile.

A listing is older than the delete that follows from it. Each directory is opened relative to the
one above and never through a symbolic link, as where files land, so that none swapped in since
leads outside; the directory itself may be one.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from ingest.errors import IngestError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def delete(root: Path, keys: Iterable[str]) -> Iterator[tuple[str, IngestError | None]]:
    """Delete files below ``root``, and directories whose keys end in ``/`` where they are empty.

    Yields each key with None, or with the error where it failed. What is not there counts as
    deleted. Keys in the order of a listing cost the fewest steps.
    """
    if sys.platform == "win32" or os.unlink not in os.supports_dir_fd:
        raise StoreError("this platform cannot delete safely below a directory")
    open_now = _Open(root)
    try:
        for key in keys:
            try:
                _delete(open_now, key)
            except OSError as error:
                shown = os.path.join(root, key)  # noqa: PTH118 - as it was given
                yield key, StoreError(f"cannot delete {shown}: {error.strerror or error}")
            else:
                yield key, None
    finally:
        open_now.leave(0)


def _delete(open_now: _Open, key: str) -> None:
    *above, name = key.removesuffix("/").split("/")
    try:
        at = open_now.enter(above)
        if key.endswith("/"):
            os.rmdir(name, dir_fd=at)
        else:
            os.unlink(name, dir_fd=at)
    except FileNotFoundError:
        return


class _Open:
    """The directories that are open, each in the one before; the first is the root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: list[str] = []
        self._fds: list[int] = []

    def enter(self, names: list[str]) -> int:
        """Return the directory ``names`` leads to from the root, open until the next one is."""
        if not self._fds:
            self._fds.append(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY))
        shared = 0
        for mine, asked in zip(self._names, names, strict=False):
            if mine != asked:
                break
            shared += 1
        self.leave(shared + 1)
        for name in names[shared:]:
            self._fds.append(self._step(name))
            self._names.append(name)
        return self._fds[-1]

    def leave(self, left: int) -> None:
        """Close the innermost directories until ``left`` are open."""
        while len(self._fds) > left:
            os.close(self._fds.pop())
        del self._names[max(left - 1, 0) :]

    def _step(self, name: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            return os.open(name, flags, dir_fd=self._fds[-1])
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
        told = f"{'/'.join([*self._names, name])!r} is no directory, or a symbolic link to one"
        raise NotADirectoryError(errno.ENOTDIR, told)
