"""What a caller names one by one: files, directories, open files, and the keys they go by."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ingest.errors import NotFound, UsageError
from ingest.planning.plan import Side
from ingest.storage.base import Entry
from ingest.trees import LocalTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ingest.files.scan import Problem
    from ingest.planning.filters import Rule
    from ingest.planning.names import Names

    LocalPath = str | bytes | os.PathLike[str]

_IN_MEMORY = 16 * 1024**2


class NoSuchPath(NotFound, FileNotFoundError):
    """A file or directory of this machine that is to be sent is not there, or is not one."""


@dataclass(frozen=True, slots=True)
class FileSet(LocalTree):
    """A tree of ``files`` alone, which maps keys to paths; relative paths are below ``root``.

    A symbolic link that is named here is followed: it was chosen.
    """

    files: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)

    def side(
        self,
        report: Callable[[Problem], None],  # noqa: ARG002 - what is named is there, or an error
        rules: tuple[Rule, ...] = (),  # noqa: ARG002 - the plan applies them
        names: Names | None = None,  # noqa: ARG002 - as above
        *,
        may_be_missing: bool = False,  # noqa: ARG002 - as above
    ) -> Side:
        """Return the files as one side of a plan.

        Raises ``NoSuchPath`` where one does not exist, before anything is sent or deleted.
        """
        entries = [self._named(key) for key in sorted(self.files)]
        return Side(entries, is_tree=True, hash_of=self._md5)

    def shown(self, key: str) -> str:
        """Return what the file of ``key`` is called in messages."""
        return os.fspath(self.files[key])

    def path(self, key: str) -> Path:
        """Return where the file of ``key`` is."""
        return self.root / self.files[key]

    def _named(self, key: str) -> Entry:
        if checked_key(key).endswith("/"):
            raise UsageError(f"the key {key!r} is a directory's: a file's does not end in /")
        return entry_of(self, key)


def entry_of(tree: LocalTree, key: str) -> Entry:
    """Return the one file ``key``. Raises ``NoSuchPath``, or ``StoreError`` for no regular file."""
    try:
        return tree.entry(key)
    except NotFound as error:
        raise NoSuchPath(error.message) from None


def key_of(remote: str | Entry) -> str:
    """Return the key of an object, which may be named by what a listing told of it."""
    return checked_key(remote.key if isinstance(remote, Entry) else remote)


def checked_key(key: str) -> str:
    """Return ``key`` as it is. Raises ``UsageError`` where no object can have it."""
    try:
        empty = not key.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the key {key!r} has bytes that are no UTF-8; choose another") from None
    except AttributeError:
        raise UsageError(f"{key!r} should be a key, which is text") from None
    if empty:
        raise UsageError("a key should have at least one character")
    return key


def path_of(local: LocalPath) -> Path:
    """Return ``local`` as a path."""
    return Path(os.fsdecode(local))


def directory_of(local: LocalPath) -> LocalTree:
    """Return the files below a directory. Raises ``NoSuchPath`` where it is none."""
    path = path_of(local)
    if not path.is_dir():
        state = "is no directory" if path.exists() else "does not exist"
        raise NoSuchPath(f"cannot read the directory {path}: it {state}")
    return LocalTree(path)


def destination(key: str, local: LocalPath | None) -> Path:
    """Return where the object ``key`` goes: into ``local`` where that is a directory.

    Without ``local``, into the working directory.
    """
    given = "" if local is None else os.fsdecode(local)
    path = Path(given)
    if not (local is None or given.endswith(("/", os.sep)) or path.is_dir()):
        return path
    name = key.rpartition("/")[2]
    if name in {"", ".", ".."}:
        raise UsageError(f"the key {key!r} ends in no name that a file can have: name the file")
    return path / name


def name_of(file: IO[bytes]) -> str:
    """Return the name of an open file, without its directories; ``UsageError`` if it has none."""
    name = getattr(file, "name", None)
    if not isinstance(name, (str, bytes)):
        raise UsageError("a file that has no name needs the argument remote")
    return Path(os.fsdecode(name)).name


@contextmanager
def content_of(file: IO[bytes]) -> Iterator[bytes | Path]:
    """Hold what is left to read of ``file``: in memory, or of more than 16 MiB a temporary file.

    Raises ``UsageError`` where it was opened as text.
    """
    head = file.read(_IN_MEMORY)
    if not isinstance(head, bytes):
        raise UsageError("the file should be opened in binary mode, as in open(path, 'rb')")
    following = file.read(_IN_MEMORY) if head else b""
    if not following:
        yield head
        return
    with tempfile.TemporaryDirectory(prefix="ingest-") as directory:
        path = Path(directory, "content")
        with path.open("xb") as spool:
            spool.write(head)
            while following:
                spool.write(following)
                following = file.read(_IN_MEMORY)
        yield path
