"""Files that land whole below a directory, and inside it.

A file is written to a partial one beside its destination, and renamed over it once complete. Each
directory is opened relative to the one above and never through a symbolic link, so that none
planted below the target leads outside it, not even one swapped in later; the target itself may be
one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import itertools
import os
import secrets
import stat
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.files.paths import PARTIAL, failure, key_bytes, refusal

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from _typeshed import ReadableBuffer

_PARTIAL_EXTRA = len("..0123456789abcdef.partial")
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
_READ_BYTES = 1_048_576
_OPEN_DIRECTORIES = 64


@dataclass(slots=True)
class _Directory:
    """An open directory; ``partials`` were there when it was opened, each by what it is for."""

    fd: int
    partials: dict[str, list[str]]
    users: int = 0


class _Directories:
    """The directories below ``root`` that are open: those in use and some used lately."""

    def __init__(self, root: Path, *, sync: bool) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._sync = sync
        self._lock = threading.Lock()
        self._closed = False
        self._open = OrderedDict({"": _Directory(self.root, _partials(self.root), users=1)})

    def acquire(self, path: str) -> _Directory:
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

    def release(self, directory: _Directory) -> None:
        with self._lock:
            directory.users -= 1

    def _refuse_late(self) -> None:
        """Raise once this is closed: its descriptors may be those of other directories by now."""
        if self._closed:
            raise OSError(errno.EBADF, "the transfer has ended")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for directory in self._open.values():
                os.close(directory.fd)
            self._open.clear()

    def _walk(self, path: str) -> _Directory:
        fd, made, done = os.dup(self.root), False, ""
        try:
            for name in path.split("/"):
                done = f"{done}/{name}".lstrip("/")
                below, made = self._step(fd, name, done)
                os.close(fd)
                fd = below
            return _Directory(fd, {} if made else _partials(fd))
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


@dataclass(frozen=True, slots=True)
class _Target:
    """A file to be: ``partial`` in ``directory`` becomes ``name``, which is for ``stem``."""

    directory: _Directory
    name: str
    stem: str
    partial: str
    overwrite: bool
    sync: bool

    def seal(self, fd: int, mtime_ns: int | None) -> None:
        if mtime_ns is not None:
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        if self.sync:
            os.fsync(fd)

    def commit(self) -> bool:
        """Give the complete file its name; False where it is taken and is to be left alone."""
        at = self.directory.fd
        if self.overwrite:
            os.rename(self.partial, self.name, src_dir_fd=at, dst_dir_fd=at)
        elif not self._claim(at):
            self.discard()
            return False
        if self.sync:
            os.fsync(at)
        self._clear(at)
        return True

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.partial, dir_fd=self.directory.fd)

    def _claim(self, at: int) -> bool:
        try:
            os.link(*(self.partial, self.name), src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except FileExistsError:
            _refuse_directory(self.name, at)
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            return self._claim_without_links(at)
        self.discard()
        return True

    def _claim_without_links(self, at: int) -> bool:
        """Make an empty file first: only one can, and is then the one who replaces it."""
        try:
            os.close(os.open(self.name, _NEW, 0o666, dir_fd=at))
        except FileExistsError:
            _refuse_directory(self.name, at)
            return False
        try:
            os.rename(self.partial, self.name, src_dir_fd=at, dst_dir_fd=at)
        except OSError:
            os.unlink(self.name, dir_fd=at)
            raise
        return True

    def _clear(self, at: int) -> None:
        """Remove what earlier runs left of this file, but nothing that one still writes."""
        for partial in self.directory.partials.pop(self.stem, ()):
            with contextlib.suppress(OSError):
                fd = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
                try:
                    if _lock(fd):
                        os.unlink(partial, dir_fd=at)
                finally:
                    os.close(fd)


class Landing:
    """Writes files below a directory, from any number of threads.

    A file appears whole or not at all, and one already there survives any failure. Permissions
    follow the umask; directories made stay. Methods raise ``StoreError`` for what the file system
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
            self._directories = _Directories(root, sync=sync)
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

    def write(self, path: str, content: ReadableBuffer, *, mtime_ns: int | None = None) -> bool:
        """Write a small file, whose content is complete and checked.

        Returns False, and changes nothing, where it exists and ``overwrite`` is off.
        """
        parent, _, name = path.rpartition("/")
        with self._inside(parent, path) as directory:
            try:
                return self._write(directory, name, content, mtime_ns)
            except FileNotFoundError:
                # Another run that wrote this file took our partial one for a leftover, but that
                # happens only once; and where the directory is gone, this fails as well.
                return self._write(directory, name, content, mtime_ns)

    def open(self, path: str, size: int, *, part_size: int, identity: str | None) -> Partial:
        """Begin a file of ``size`` bytes, or go on with what an earlier run left of it.

        ``identity`` tells this content from any other, such as the object's URL and ETag; without
        one nothing is resumed or kept. After a restart of the machine a file begins anew, as what
        is marked as written might not have reached the disk.
        """
        parts = tuple(
            Part(number, offset, min(part_size, size - offset))
            for number, offset in enumerate(range(0, size, part_size))
        )
        tag = self._own_tag()
        if identity is not None:
            tag = _digest(f"{path}\0{identity}\0{size}\0{part_size}\0{_boot()}", 8)
        parent, _, name = path.rpartition("/")
        with self._inside(parent, path) as directory:
            _refuse_directory(name, directory.fd)
            target = self._target(directory, name, tag)
            fd = _open_partial(target.partial, directory.fd)
            try:
                missing = _missing(fd, size, parts)
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
    def _inside(self, directory_path: str, path: str) -> Iterator[_Directory]:
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

    def _target(self, directory: _Directory, name: str, tag: str) -> _Target:
        room = self._name_max - _PARTIAL_EXTRA
        stem = name
        if len(name) > room or (not name.isascii() and len(os.fsencode(name)) > room):
            mark = "~" + _digest(name, 4)
            stem = os.fsencode(name)[: room - len(mark)].decode("utf-8", "ignore") + mark
        partial = f".{stem}.{tag}.partial"
        return _Target(directory, name, stem, partial, self._overwrite, self._sync)

    def _write(
        self, directory: _Directory, name: str, content: ReadableBuffer, mtime_ns: int | None
    ) -> bool:
        target = self._target(directory, name, self._own_tag())
        fd = os.open(target.partial, _NEW, 0o666, dir_fd=directory.fd)
        try:
            try:
                _write_at(fd, content, 0)
                target.seal(fd, mtime_ns)
            finally:
                os.close(fd)  # some network file systems report a failed write only now
            return target.commit()
        except BaseException:
            target.discard()
            raise

    def _own_tag(self) -> str:
        return f"{self._token}{next(self._numbers):08x}"


@dataclass(frozen=True, slots=True)
class Part:
    """A range of a file: ``number`` counts from 0, ``offset`` and ``size`` are in bytes."""

    number: int
    offset: int
    size: int


@dataclass(eq=False, slots=True)
class Partial:
    """A file that lands part by part, in any order and from any number of threads.

    ``parts`` are all of it, ``missing`` those that were not there when it was opened. Behind the
    ``size`` bytes of content the partial file has a byte a part, set once the part is written: so
    a later run knows what is missing, even after this one was killed.
    """

    where: str
    size: int
    parts: tuple[Part, ...]
    missing: tuple[Part, ...]
    _target: _Target
    _fd: int
    _release: Callable[[], None]
    _resumable: bool
    _left: set[int]
    _ended: bool = field(default=False, init=False)
    _users: int = field(default=1, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def write_part(self, part: Part, chunks: Iterable[ReadableBuffer]) -> None:
        """Write one of ``missing``; what ``chunks`` raises is passed on.

        Raises ``StoreError`` where they have not exactly the part's size, or the file was ended.
        """
        offset, end = part.offset, part.offset + part.size
        for chunk in chunks:
            size = memoryview(chunk).nbytes
            if offset + size > end:
                raise StoreError(
                    f"cannot write {self.where!r}: more came than the {part.size} bytes"
                )
            self._put(chunk, offset)
            offset += size
        if offset != end:
            came = offset - part.offset
            raise StoreError(f"cannot write {self.where!r}: {came} of {part.size} bytes came")
        self._put(b"\1", self.size + part.number)
        with self._lock:
            self._left.discard(part.number)

    def read_part(self, part: Part) -> Iterator[bytes]:
        """Yield the content of a part that was written. Raises as ``write_part`` does."""
        for start in range(0, part.size, _READ_BYTES):
            size = min(_READ_BYTES, part.size - start)
            with self._used():
                piece = os.pread(self._fd, size, part.offset + start)
            yield piece

    def commit(
        self,
        *,
        mtime_ns: int | None = None,
        check: Callable[[Iterator[bytes]], None] | None = None,
    ) -> bool:
        """Give the complete file its name; returns False as ``Landing.write`` does.

        ``check`` reads the content and raises where it is wrong. A failure discards the partial
        file, lest a later run go on with it. Raises ``StoreError`` where parts are missing.
        """
        if self._left or self._ended:
            state = "it was ended" if self._ended else f"{len(self._left)} parts are missing"
            raise StoreError(f"cannot complete {self.where!r}: {state}")
        try:
            if check:
                check(_content(self._fd, self.size))
            os.ftruncate(self._fd, self.size)
            self._target.seal(self._fd, mtime_ns)
            os.close(os.dup(self._fd))  # reports failed writes as above, and keeps the lock
            landed = self._target.commit()
        except Exception as error:
            self.discard()
            if isinstance(error, OSError):
                raise failure(self.where, error) from None
            raise
        self._end(keep=True)
        return landed

    def discard(self) -> None:
        """Remove the partial file; a part still being written ends with an error."""
        self._end(keep=False)

    def close(self) -> None:
        """Leave the partial file to a later run, or remove it where there is nothing to keep."""
        self._end(keep=self._resumable and len(self._left) < len(self.parts))

    def _put(self, content: ReadableBuffer, offset: int) -> None:
        with self._used():
            _write_at(self._fd, content, offset)

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        """Keep the file open meanwhile; translate the errors. Raises where it was ended."""
        with self._lock:
            if self._ended:
                raise StoreError(f"cannot write {self.where!r}: it was ended")
            self._users += 1
        try:
            yield
        except OSError as error:
            raise failure(self.where, error) from None
        finally:
            self._leave()

    def _end(self, *, keep: bool) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        if not keep:
            self._target.discard()
        self._leave()

    def _leave(self) -> None:
        """Close with the last user: a descriptor closed under a writer may be another file's."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
        os.close(self._fd)
        self._release()


def _missing(fd: int, size: int, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Read which parts are marked as written; a file of another length is begun anew."""
    if os.fstat(fd).st_size == size + len(parts):
        marks = os.pread(fd, len(parts), size)
        return tuple(part for part in parts if marks[part.number] != 1)
    os.ftruncate(fd, 0)
    os.ftruncate(fd, size + len(parts))
    return parts


def _open_partial(name: str, at: int) -> int:
    """Open a partial file for this transfer alone, made where there is none of ours."""
    try:
        return _own(os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at), name, at)
    except BlockingIOError:
        raise
    except FileNotFoundError:
        pass
    except OSError:  # something else was planted under its name
        os.unlink(name, dir_fd=at)
    return _own(os.open(name, _NEW, 0o666, dir_fd=at), name, at)


def _own(fd: int, name: str, at: int) -> int:
    """Lock a partial file just opened; raise, and close it, where it is another's or not a file.

    Its name is looked up under the lock: who had the lock before may have renamed it, and then it
    is complete and never to be written to.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        locked, same, state = _lock(fd), False, os.fstat(fd)
        with contextlib.suppress(FileNotFoundError):
            same = os.path.samestat(state, os.stat(name, dir_fd=at, follow_symlinks=False))
        if not locked or not same:
            raise BlockingIOError(errno.EWOULDBLOCK, "another transfer is writing it")
        if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:  # a second name may be anywhere
            raise FileExistsError(errno.EEXIST, f"{name!r} is no partial file")
        stack.pop_all()
    return fd


def _lock(fd: int) -> bool:
    """Whether the file is this descriptor's alone; a file system without locks cannot tell."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _partials(fd: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.name.endswith(".partial") and (match := PARTIAL.fullmatch(entry.name)):
                found.setdefault(match[1], []).append(entry.name)
    return found


def _refuse_directory(name: str, at: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _write_at(fd: int, content: ReadableBuffer, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def _content(fd: int, size: int) -> Iterator[bytes]:
    for offset in range(0, size, _READ_BYTES):
        yield os.pread(fd, min(_READ_BYTES, size - offset), offset)


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(key_bytes(text), digest_size=size).hexdigest()


@functools.cache
def _boot() -> str:
    """Return what differs after each restart of the machine, where that is known."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return ""
