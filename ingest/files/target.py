"""A file to be: its content is complete in a partial one beside it, which then gets its name."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.files.attributes import mode_at_first
from ingest.files.paths import SPECIAL

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from ingest.files.attributes import Attributes
    from ingest.files.directories import Directory

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
"""The flags of a file that is not there yet."""
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Target:
    """A file to be: ``partial`` in ``directory`` becomes ``name``, which is for ``stem``.

    Where ``attributes`` have a mode, nobody else may open it before it has them.
    """

    directory: Directory
    name: str
    stem: str
    partial: str
    overwrite: bool
    sync: bool
    attributes: Attributes | None

    def seal(self, fd: int) -> None:
        """Give the complete file its attributes; have it on the disk where that is asked for."""
        if self.attributes:
            self.attributes.give(fd)
        if self.sync:
            os.fsync(fd)

    def finish(self, fd: int, size: int) -> bool:
        """Cut the file to the ``size`` of its content, seal it, and commit as below."""
        os.ftruncate(fd, size)
        self.seal(fd)
        os.close(os.dup(fd))  # reports failed writes, as closing does, and keeps the lock
        refuse_unfit(self.name, self.directory.fd)  # what has come while it landed
        return self.commit()

    def commit(self) -> bool:
        """Give the complete file its name; False where it is taken and is to be left alone."""
        at = self.directory.fd
        if self.overwrite:
            if self.name in self.directory.special:
                refuse_unfit(self.name, at)
            os.rename(self.partial, self.name, src_dir_fd=at, dst_dir_fd=at)
        elif not self._claim(at):
            self.discard()
            return False
        if self.sync:
            os.fsync(at)
        self._clear(at)
        return True

    def discard(self) -> None:
        """Remove the partial file, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(self.partial, dir_fd=self.directory.fd)

    def _claim(self, at: int) -> bool:
        try:
            os.link(*(self.partial, self.name), src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except FileExistsError:
            refuse_unfit(self.name, at)
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
            os.close(os.open(self.name, NEW, mode_at_first(self.attributes), dir_fd=at))
        except FileExistsError:
            refuse_unfit(self.name, at)
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
                    if lock(fd):
                        os.unlink(partial, dir_fd=at)
                finally:
                    os.close(fd)


def open_partial(name: str, at: int, mode: int) -> int:
    """Open a partial file for this transfer alone, made with ``mode`` where there is none of ours.

    What else has its name is removed, but for a partial file that another transfer writes.
    """
    try:
        fd, writable = _find(name, at)
    except FileNotFoundError:
        pass
    except BlockingIOError:  # somebody has a lease of it
        raise
    except OSError:  # something else was planted under its name
        os.unlink(name, dir_fd=at)
    else:
        state = _lock_named(fd, name, at)
        if writable and _is_ours(state, mode):
            return fd
        try:
            os.unlink(name, dir_fd=at)  # under its lock, lest it be a new one of another transfer
        finally:
            os.close(fd)
    fd = os.open(name, NEW, mode, dir_fd=at)
    _lock_named(fd, name, at)
    return fd


def _find(name: str, at: int) -> tuple[int, bool]:
    """Open what is there; return whether to write, or only to see if another transfer has it."""
    plain = os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(name, os.O_RDWR | plain, dir_fd=at), True
    except PermissionError:
        return os.open(name, os.O_RDONLY | plain, dir_fd=at), False


def _lock_named(fd: int, name: str, at: int) -> os.stat_result:
    """Lock a file just opened; raise, and close it, where another transfer has it.

    Its name is looked up under the lock: who had the lock before may have renamed it, and then it
    is complete and never to be written to.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        locked, same, state = lock(fd), False, os.fstat(fd)
        with contextlib.suppress(FileNotFoundError):
            same = os.path.samestat(state, os.stat(name, dir_fd=at, follow_symlinks=False))
        if not locked or not same:
            raise BlockingIOError(errno.EWOULDBLOCK, "another transfer is writing it")
        stack.pop_all()
    return state


def _is_ours(state: os.stat_result, mode: int) -> bool:
    """Whether a file is a partial one that this user began, to be made with ``mode``.

    Its owner tells, and of a private one what others may do. Of any other that is what the umask
    let them when it was begun: nobody else could have given it to them.
    """
    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:  # a second name may be anywhere
        return False
    private = not mode & _OTHERS
    return state.st_uid == os.geteuid() and not (private and state.st_mode & _OTHERS)


def lock(fd: int) -> bool:
    """Whether the file is this descriptor's alone; a file system without locks cannot tell."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def refuse_unfit(name: str, at: int) -> None:
    """Raise ``OSError`` where what has the name is not to be replaced by a file.

    A directory, which would stay anyway; a pipe, a socket or a device, which would be gone.
    """
    try:
        mode = os.stat(name, dir_fd=at, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        what = SPECIAL.get(stat.S_IFMT(mode), "no regular file")
        raise FileExistsError(errno.EEXIST, f"{what} is there, and stays")


def write_at(fd: int, content: ReadableBuffer, offset: int) -> None:
    """Write all of ``content``."""
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
