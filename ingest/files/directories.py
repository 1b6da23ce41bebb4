"""The directories that files land in: opened one below the other, and never through a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.files.paths import PARTIAL

if TYPE_CHECKING:
    from pathlib import Path

_OPEN_DIRECTORIES = 64


@dataclass(slots=True)
class Directory:
    """An open directory; ``partials`` were there when it was opened, each by what it is for.

    So were ``special``: pipes, sockets and devices.
    """

    fd: int
    partials: dict[str, list[str]]
    special: set[str]
    users: int = 0


class Directories:
    """The directories below ``root`` that are open: those in use and some used lately."""

    def __init__(self, root: Path, *, sync: bool) -> None:
        """Open ``root``, made where it is missing; ``sync`` has what is made on the disk."""
        root.mkdir(parents=True, exist_ok=True)
        self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._sync = sync
        self._lock = threading.Lock()
        self._closed = False
        self._open = OrderedDict({"": Directory(self.root, *_found(self.root), users=1)})

    def acquire(self, path: str) -> Directory:
        """Open a directory, made where it is missing; it stays open until released."""
        with self._lock:
            if directory := self._open.get(path):
                self._open.move_to_end(path)
                directory.users += 1
                return directory
        self._refuse_late()
        opened = self._walk(path)
        with self._lock:
            if self._closed:
                os.close(opened.fd)
            self._refuse_late()
            directory = self._open.setdefault(path, opened)
            directory.users += 1
            excess = max(len(self._open) - _OPEN_DIRECTORIES, 0)
            idle = [path for path, known in self._open.items() if not known.users][:excess]
            surplus = [self._open.pop(path).fd for path in idle]
        if directory is not opened:  # another thread was faster
            surplus.append(opened.fd)
        for fd in surplus:
            os.close(fd)
        return directory

    def release(self, directory: Directory) -> None:
        """Let a directory be closed once others are wanted."""
        with self._lock:
            directory.users -= 1

    def _refuse_late(self) -> None:
        """Raise once this is closed: its descriptors may be those of other directories by now."""
        if self._closed:
            raise OSError(errno.EBADF, "the transfer has ended")

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            self._closed = True
            for directory in self._open.values():
                os.close(directory.fd)
            self._open.clear()

    def _walk(self, path: str) -> Directory:
        fd, made, done = os.dup(self.root), False, ""
        try:
            for name in path.split("/"):
                done = f"{done}/{name}".lstrip("/")
                below, made = self._step(fd, name, done)
                os.close(fd)
                fd = below
            return Directory(fd, *(({}, set()) if made else _found(fd)))
        except BaseException:
            os.close(fd)
            raise

    def _step(self, at: int, name: str, path: str) -> tuple[int, bool]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        made = False
        try:
            with contextlib.suppress(FileNotFoundError):
                return os.open(name, flags, dir_fd=at), made
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=at)
                made = True
                if self._sync:
                    os.fsync(at)
            return os.open(name, flags, dir_fd=at), made
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            state = os.stat(name, dir_fd=at, follow_symlinks=False)
            linked = stat.S_ISLNK(state.st_mode)
            what = "a symbolic link, and none is followed" if linked else "a file"
            raise NotADirectoryError(errno.ENOTDIR, f"{path!r} is {what}") from None


def _found(fd: int) -> tuple[dict[str, list[str]], set[str]]:
    """Return the partial files of a directory, and its pipes, sockets and devices."""
    partials: dict[str, list[str]] = {}
    special: set[str] = set()
    with os.scandir(fd) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                if not entry.is_dir(follow_symlinks=False) and not entry.is_symlink():
                    special.add(entry.name)
            elif entry.name.endswith(".partial") and (match := PARTIAL.fullmatch(entry.name)):
                partials.setdefault(match[1], []).append(entry.name)
    return partials, special
