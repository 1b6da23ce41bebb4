"""A directory as an ordered stream of entries: the local counterpart of a bucket's listing."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ingest.errors import NotFound, StoreError
from ingest.files.paths import PARTIAL, SPECIAL
from ingest.storage.base import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Kind = Literal[
    "symlink",
    "special",
    "partial",
    "broken",
    "loop",
    "name",
    "unreadable",
    "vanished",
    "missing",
]


@dataclass(frozen=True, slots=True)
class LocalEntry(Entry):
    """A file of a directory, or with a key that ends in ``/`` a directory with nothing to send.

    ``stat`` has what tells whether a file changed: ``st_mtime_ns``, ``st_ino``, ``st_dev``.
    """

    stat: os.stat_result | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What a scan found and could not yield. ``key`` ends in ``/`` where a directory is left out.

    ``kind`` is ``symlink`` (not followed), ``special`` (a pipe, a socket, a device), ``partial``
    (a download of ours, under way or left unfinished), ``broken`` (a link to nothing), ``loop`` (a
    link that leads back), ``name`` (it is not UTF-8, and so no key; the bytes are escaped in
    ``key``), ``unreadable`` or ``vanished`` (during the scan).
    ``missing`` is what was asked for by name and not there to be scanned.
    ``message`` is one line for a user and names the path.
    """

    key: str
    kind: Kind
    message: str

    @property
    def failed(self) -> bool:
        """Whether something that was asked for is missing, so that nothing may be deleted."""
        return self.kind not in {"symlink", "special", "partial"}


@dataclass(frozen=True, slots=True)
class Scan:
    """How to walk. ``report`` is called with each problem, between the entries around it.

    ``follow_symlinks`` takes what a link leads to for the link. ``empty_dirs`` adds an entry for
    each directory below which nothing else is yielded. ``pruned`` is asked for the key of each
    directory, with its ``/``, and True leaves it unread; it is not asked with ``empty_dirs``,
    since what is left unread may make the directory above it look empty.
    """

    report: Callable[[Problem], None]
    follow_symlinks: bool = False
    empty_dirs: bool = False
    pruned: Callable[[str], bool] | None = None


@dataclass(slots=True)
class _Level:
    """A directory on the way from the root to where the walk is; ``names`` are still to come."""

    path: str
    key: str
    names: list[str]
    identity: tuple[int, int] | None
    barren: bool


def scan(root: str | os.PathLike[str], how: Scan) -> Iterator[LocalEntry]:
    """Yield the files below ``root`` in the order in which a bucket lists them.

    Keys are relative to ``root``, with ``/`` between exact names, in UTF-8 byte order over the
    whole tree. Each file is looked at when its turn comes (``lstat``), and none is ever opened.
    Memory holds the names of one directory a level. What cannot be yielded goes to ``how.report``
    and the walk goes on.

    Raises, at once, ``NotFound`` where ``root`` does not exist and ``StoreError`` where it is no
    directory or cannot be read.
    """
    what = f"cannot read the directory {_shown(os.fspath(root))}"
    try:
        level = _open(os.path.join(root, ""), "", how)  # noqa: PTH118 - a Path would drop the slash
    except FileNotFoundError:
        raise NotFound(f"{what}: it does not exist") from None
    except NotADirectoryError:
        raise StoreError(
            f"{what}: it is a file",
            hint="name the directory that holds it, or transfer it as a single file",
        ) from None
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror}") from None
    return _walk([level], how)


def _walk(levels: list[_Level], how: Scan) -> Iterator[LocalEntry]:
    follow = how.follow_symlinks
    while levels:
        level = levels[-1]
        path, key, names = level.path, level.key, level.names
        while names:
            name = names.pop()
            if name[-1] == "/":
                if below := _enter(levels, name, how):
                    levels.append(below)
                    break
                continue
            try:
                found = os.lstat(path + name)
                if follow and stat.S_ISLNK(found.st_mode):
                    found = os.stat(path + name)  # noqa: PTH116 - a Path a file is slow
            except OSError as error:
                how.report(_failure(path + name, key + name, error))
                continue
            if stat.S_ISREG(found.st_mode):
                level.barren = False
                yield LocalEntry(key + name, found.st_size, found.st_mtime, None, found)
            else:
                how.report(_unfit(path + name, key + name, found.st_mode))
        else:
            levels.pop()
            if levels:
                yield from _leave(level, levels[-1], how)


def _enter(levels: list[_Level], name: str, how: Scan) -> _Level | None:
    """Open the directory ``name`` of the last level, or report why not."""
    path, key = levels[-1].path + name[:-1], levels[-1].key + name
    if how.pruned and not how.empty_dirs and how.pruned(key):
        return None
    try:
        below = _open(path + os.sep, key, how)
    except OSError as error:
        how.report(_failure(path, key, error))
        return None
    if below.identity and any(below.identity == level.identity for level in levels):
        how.report(Problem(key, "loop", f"{_shown(path)} leads back to a directory above it"))
        return None
    return below


def _leave(level: _Level, above: _Level, how: Scan) -> Iterator[LocalEntry]:
    """Yield the entry of a directory that had none; its key still comes before all that follow."""
    if level.barren and how.empty_dirs:
        try:
            found = os.stat(level.path)  # noqa: PTH116 - as above
        except OSError as error:
            how.report(_failure(level.path, level.key, error))
        else:
            level.barren = False
            yield LocalEntry(level.key, 0, found.st_mtime, None, found)
    above.barren = above.barren and level.barren


def _open(path: str, key: str, how: Scan) -> _Level:
    """Read a directory's names, the last in order first, those of directories with a ``/``.

    With it they sort as the keys below them do, so that the order is that of the whole tree:
    ``a.txt`` comes before ``a/b``. Code points sort as their UTF-8 bytes do.
    """
    names = []
    identity = None
    if how.follow_symlinks:
        seen = os.stat(path)  # noqa: PTH116 - as above
        identity = (seen.st_dev, seen.st_ino)
    with os.scandir(path) as children:
        for child in children:
            name = child.name
            if not name.isascii() and not _is_utf8(name):
                message = f"{_shown(child.path)} has a name that is no UTF-8, and so no key"
                how.report(Problem(key + _escaped(name), "name", message))
            elif _is_directory(child, follow=how.follow_symlinks):
                names.append(name + "/")
            elif name.endswith(".partial") and PARTIAL.fullmatch(name):
                message = f"{_shown(child.path)} is a download that is not complete"
                how.report(Problem(key + name, "partial", message))
            else:
                names.append(name)
    names.sort(reverse=True)
    return _Level(path, key, names, identity, barren=True)


def _is_directory(child: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return child.is_dir(follow_symlinks=follow)
    except OSError:  # a link to itself, say: what it is comes out when its turn comes
        return False


def _failure(path: str, key: str, error: OSError) -> Problem:
    """Return what an error of the system means; a link that is there itself leads to nothing."""
    kind: Kind = "unreadable"
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        is_link = os.path.islink(path)  # noqa: PTH114 - as above
        kind = "broken" if is_link else "vanished"
    elif error.errno == errno.ELOOP:
        kind = "loop"
    reasons = {
        "broken": "is a link to nothing",
        "vanished": "vanished during the scan",
        "loop": "is a link that leads back to itself",
    }
    reason = reasons.get(kind) or f"cannot be read: {error.strerror}"
    return Problem(key, kind, f"{_shown(path)} {reason}")


def _unfit(path: str, key: str, mode: int) -> Problem:
    if stat.S_ISLNK(mode):
        return Problem(key, "symlink", f"{_shown(path)} is a symbolic link and not followed")
    if stat.S_ISDIR(mode):  # it was something else a moment ago
        return Problem(key, "vanished", f"{_shown(path)} became a directory during the scan")
    what = SPECIAL.get(stat.S_IFMT(mode), "no regular file")
    return Problem(key, "special", f"{_shown(path)} is {what}")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(name: str) -> str:
    """Return ``name`` with each byte that is no UTF-8 as an escape, so that it can be shown."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _shown(path: str) -> str:
    """Return ``path`` for a message of one line."""
    text = _escaped(path)
    return text if text.isprintable() else repr(text)
