"""What a file has beside its content: its times, its permissions and its owner."""

from __future__ import annotations

import errno
import logging
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

PERMISSIONS = 0o777
"""Of a mode, what is ever given to a file: no stranger's set-user-ID."""
_BY_UMASK, _PRIVATE = 0o666, 0o600
_NO_RIGHT = (errno.EPERM, errno.EINVAL)
"""How an owner is refused to root in a container, or by a file system that has none or other ones;
the second is for one that the container does not know."""
_untold = threading.Lock()
"""Held from when it was told that an owner is refused: once is enough."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """When a file was modified and last read, its mode and whose it is, as ``os.stat`` tells it.

    Times are in nanoseconds of Unix time. What is None is left as it comes, but for the time of
    reading, which is that of the modification then.
    """

    mtime_ns: int
    atime_ns: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        """Take all that ``stat`` has."""
        return cls(stat.st_mtime_ns, stat.st_atime_ns, stat.st_mode, stat.st_uid, stat.st_gid)

    def give(self, fd: int) -> None:
        """Give them to an open file: of the mode the permissions, the owner only if we are root.

        A root without the right to give files away is like any other user, which is logged once.
        Raises ``OSError`` that says what else the file system refuses.
        """
        uid, gid = (-1 if each is None else each for each in (self.uid, self.gid))
        if (uid, gid) != (-1, -1) and os.geteuid() == 0:
            _give_away(fd, uid, gid)
        if self.mode is not None:
            permissions = self.mode & PERMISSIONS
            with _told(f"the permissions {permissions:03o}"):
                os.fchmod(fd, permissions)
        atime_ns = self.mtime_ns if self.atime_ns is None else self.atime_ns
        os.utime(fd, ns=(atime_ns, self.mtime_ns))


def is_private(attributes: Attributes | None) -> bool:
    """Whether a file that gets ``attributes`` is its writer's alone until it has them."""
    return attributes is not None and attributes.mode is not None


def mode_at_first(attributes: Attributes | None) -> int:
    """Return the mode to make a file with that gets ``attributes`` once it is complete."""
    return _PRIVATE if is_private(attributes) else _BY_UMASK


def _give_away(fd: int, uid: int, gid: int) -> None:
    with _told(f"the owner {uid}:{gid}"):
        try:
            os.fchown(fd, uid, gid)
        except OSError as error:
            if error.errno not in _NO_RIGHT:
                raise
            if _untold.acquire(blocking=False):
                logger.warning("not every file gets the owner it had: %s", error.strerror)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: it cannot have {what}") from None
