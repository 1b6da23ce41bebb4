"""Files that land whole below a directory, and inside it.

A file is written to a partial one beside its destination, and renamed over it once complete. Each
directory is opened relative to the one above and never through a symbolic link, so that none
planted below the target leads outside it, not even one swapped in later; the target itself may be
one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.files.attributes import is_private, mode_at_first
from ingest.files.directories import Directories
from ingest.files.partial import Partial, missing_parts, parts_of
from ingest.files.paths import failure, key_bytes, refusal
from ingest.files.target import NEW, Target, open_partial, refuse_unfit, write_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from _typeshed import ReadableBuffer

    from ingest.files.attributes import Attributes
    from ingest.files.directories import Directory

_PARTIAL_EXTRA = len("..0123456789abcdef.partial")


class Landing:
    """Writes files below a directory, from any number of threads.

    A file appears whole or not at all, and one already there survives any failure. Permissions
    follow the umask, but for a file whose attributes have some: that is nobody else's before it
    has them. Directories made stay. Methods raise ``StoreError`` for what the file system
    refuses, and where a directory on the way is a symbolic link. Use one for one transfer, and
    close it: it holds directories open, and does not see one that takes the place of such.
    """

    def __init__(self, root: Path, *, overwrite: bool = True, sync: bool = False) -> None:
        """Make ``root`` where it is missing.

        ``sync`` has each file on the disk before it has its name: for a writer who then tells
        others that it is there. A bulk download does without, which saves milliseconds a file,
        and is to be repeated after a power failure.
        """
        if os.open not in os.supports_dir_fd:
            raise StoreError("this platform cannot write files safely below a directory")
        self._root = str(root)
        self._overwrite = overwrite
        self._sync = sync
        self._token = secrets.token_hex(4)
        self._numbers = itertools.count()
        try:
            self._directories = Directories(root, sync=sync)
            self._name_max = os.fpathconf(self._directories.root, "PC_NAME_MAX")
        except OSError as error:
            raise failure(self._root, error) from None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the directories, once every write has ended."""
        self._directories.close()

    def make_directory(self, path: str) -> None:
        """Make a directory, and those above it, where they are missing."""
        if path:
            with self._inside(path, path):
                pass

    def write(
        self, path: str, content: ReadableBuffer, *, attributes: Attributes | None = None
    ) -> bool:
        """Write a small file, whose content is complete and checked, with its ``attributes``.

        Returns False, and changes nothing, where it exists and ``overwrite`` is off.
        """
        parent, _, name = path.rpartition("/")
        with self._inside(parent, path) as directory:
            try:
                return self._write(directory, name, content, attributes)
            except FileNotFoundError:
                # Another run that wrote this file took our partial one for a leftover, but that
                # happens only once; and where the directory is gone, this fails as well.
                return self._write(directory, name, content, attributes)

    def open(
        self,
        path: str,
        size: int,
        *,
        part_size: int,
        identity: str | None,
        attributes: Attributes | None = None,
    ) -> Partial:
        """Begin a file of ``size`` bytes, or go on with what an earlier run left of it.

        It gets its ``attributes`` when it is complete.

        ``identity`` tells this content from any other, such as the object's URL and ETag; without
        one nothing is resumed or kept. After a restart of the machine a file begins anew, as what
        is marked as written might not have reached the disk.
        """
        parts = parts_of(size, part_size)
        tag = self._own_tag()
        if identity is not None:
            # What others can read already is nothing to go on with where they may not.
            kind = "\0private" if is_private(attributes) else ""
            tag = _digest(f"{path}\0{identity}\0{size}\0{part_size}\0{_boot()}{kind}", 8)
        parent, _, name = path.rpartition("/")
        with self._inside(parent, path) as directory:
            refuse_unfit(name, directory.fd)
            target = self._target(directory, name, tag, attributes)
            fd = open_partial(target.partial, directory.fd, mode_at_first(attributes))
            try:
                missing = missing_parts(fd, size, parts)
            except BaseException:
                target.discard()
                os.close(fd)
                raise
            self._directories.acquire(parent)
        release = functools.partial(self._directories.release, directory)
        where = os.path.join(self._root, path)  # noqa: PTH118 - shown as it was given
        left = {part.number for part in missing}
        resumable = identity is not None
        return Partial(where, size, parts, missing, target, fd, release, resumable, left)

    @contextlib.contextmanager
    def _inside(self, directory_path: str, path: str) -> Iterator[Directory]:
        """Hold the directory open in which ``path`` is written; translate the errors."""
        if reason := refusal(path):
            raise StoreError(f"{path!r} has no place in {self._root!r}: {reason[1]}")
        try:
            directory = self._directories.acquire(directory_path)
            try:
                yield directory
            finally:
                self._directories.release(directory)
        except OSError as error:
            raise failure(os.path.join(self._root, path), error) from None  # noqa: PTH118

    def _target(
        self, directory: Directory, name: str, tag: str, attributes: Attributes | None
    ) -> Target:
        room = self._name_max - _PARTIAL_EXTRA
        stem = name
        if len(name) > room or (not name.isascii() and len(os.fsencode(name)) > room):
            mark = "~" + _digest(name, 4)
            stem = os.fsencode(name)[: room - len(mark)].decode("utf-8", "ignore") + mark
        partial = f".{stem}.{tag}.partial"
        return Target(directory, name, stem, partial, self._overwrite, self._sync, attributes)

    def _write(
        self,
        directory: Directory,
        name: str,
        content: ReadableBuffer,
        attributes: Attributes | None,
    ) -> bool:
        target = self._target(directory, name, self._own_tag(), attributes)
        fd = os.open(target.partial, NEW, mode_at_first(attributes), dir_fd=directory.fd)
        try:
            try:
                write_at(fd, content, 0)
                target.seal(fd)
            finally:
                os.close(fd)  # some network file systems report a failed write only now
            return target.commit()
        except BaseException:
            target.discard()
            raise

    def _own_tag(self) -> str:
        return f"{self._token}{next(self._numbers):08x}"


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(key_bytes(text), digest_size=size).hexdigest()


@functools.cache
def _boot() -> str:
    """Return what differs after each restart of the machine, where that is known."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return ""
