"""Keys of a store -> paths below a directory, decided before anything is transferred."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ingest.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
"""What is neither a file, nor a directory, nor a link, by the type in its mode."""
PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{16}\.partial", re.DOTALL)
"""Names of partial files, and what each is for."""
_FAT_FORBIDDEN = re.compile(r'[<>:"|?*\\\x01-\x1f]|[. ](?:/|\Z)')
_DEVICES = re.compile(
    r"(?:^|/)(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:[./:]|\Z)", re.IGNORECASE
)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL

ProblemKind = Literal[
    "segment",  # `.`, `..` or an empty segment: no relative path
    "nul",
    "encoding",  # no exact name in the file system's encoding
    "too-long",
    "reserved",  # a character or name that is not free here, or the name of a partial file
    "marker-with-content",  # ends in `/` as a directory does, and has content
    "file-and-directory",  # `a/b`, where `a` is an object too
    "same-name",  # here the same name as an earlier key's
]


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What the file system below ``root`` can hold; lengths are in bytes, of relative paths."""

    root: str
    name_max: int = 255
    path_max: int = 4_000
    folds_case: bool = False
    folds_accents: bool = False  # composed and decomposed Unicode are the same name
    fat_names: bool = False  # none of <>:"|?*\ and no final dot or space: FAT, NTFS
    device_names: bool = False  # `con`, `nul.txt` and their like are devices: Windows

    def fold(self, name: str) -> str:
        """Return what is equal for all names that this file system may take for one."""
        if self.folds_accents:
            name = unicodedata.normalize("NFD", name)
        if self.folds_case:
            name = name.upper().casefold()
        return unicodedata.normalize("NFD", name) if self.folds_accents else name


@dataclass(frozen=True, slots=True)
class Place:
    """The path of a key relative to the target; ``""`` is the target itself."""

    path: str
    is_directory: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a key has no place. ``str(problem.error)`` is one line that names the key."""

    key: str
    kind: ProblemKind
    error: StoreError


def probe(root: Path, *, touch: bool = True) -> FileSystem:
    """Find out which names can be held at ``root``, or where it will be made.

    Creates and removes a few empty files, which also shows that the place can be written to.
    Without ``touch`` nothing is written, and the platform's usual answers are given. Raises
    ``StoreError`` where ``root`` is no directory or cannot be written to.
    """
    base = Path(os.path.abspath(root))  # noqa: PTH100 - resolves no links
    room = -len(os.fsencode(base)) - 2  # a slash, and the NUL at the end
    while not os.path.lexists(base):
        base = base.parent
    mac, windows = sys.platform == "darwin", sys.platform == "win32"
    try:
        if not stat.S_ISDIR(base.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{str(base)!r} is not a directory")
        names = _ask(os.fsencode(base)) if touch else (mac or windows, mac, windows)
    except OSError as error:
        raise failure(str(root), error) from None
    if windows:
        return FileSystem(str(root), 255, 260 + room, *names, device_names=True)
    name_max, path_max = os.pathconf(base, "PC_NAME_MAX"), os.pathconf(base, "PC_PATH_MAX")
    return FileSystem(str(root), name_max, path_max + room, *names)


def _ask(base: bytes) -> tuple[bool, bool, bool]:
    """Try names out: whether ``base`` folds case, folds accents, holds only names as FAT's."""
    mark = b"%s/.ingest-%s-" % (base, secrets.token_hex(4).encode())

    def can(name: str, other: str) -> bool:
        with contextlib.suppress(OSError):
            return _tells_apart(mark + name.encode(), mark + other.encode())
        return False

    folds_case = not _tells_apart(mark + b"A", mark + b"a")
    fat_names = not can('<:"|?*\\\x01', "-") or not can("a", "a.")
    return folds_case, not can("\u00e9", "e\u0301"), fat_names


def _tells_apart(first: bytes, second: bytes) -> bool:
    os.close(os.open(first, _NEW, 0o600))
    try:
        return not os.path.lexists(second)
    finally:
        os.unlink(first)  # noqa: PTH108 - a name of bytes


class PathPlan:
    """The paths of a listing's keys, given one after the other in UTF-8 byte order.

    Each key gets a place or a problem; none is renamed. An object ``a`` comes before all ``a/b``
    and wins: those are problems. No two places share a path, and none lies below a file's.

    Memory: the files whose key the present one begins with, so at most as many as it has bytes.
    Only where the file system folds names are all paths remembered.
    """

    def __init__(self, file_system: FileSystem, prefix: str = "") -> None:
        """``prefix`` is left off the keys; it is empty or ends in ``/``."""
        self._names = file_system
        self._prefix = prefix
        self._last = b""
        self._files: list[bytes] = []
        folds = file_system.folds_case or file_system.folds_accents
        self._spelled: dict[str, str] | None = {} if folds else None

    def place(self, key: str, size: int) -> Place | Problem:
        """Return the place of an object of ``size`` bytes, or why it has none.

        Raises ``StoreError`` where keys do not increase, or one lacks the prefix: what the plan
        says would not hold.
        """
        raw = key_bytes(key)
        if raw <= self._last or not key.startswith(self._prefix):
            raise StoreError(f"the listing of {self._prefix!r} is out of order at {key!r}")
        self._last = raw
        name = key[len(self._prefix) :]
        path = name.removesuffix("/")
        marker = path != name or not name
        # The prefix's own marker has no name: it is the target itself.
        reason = (refusal(path) or _unfit(path, self._names)) if name else None
        reason = reason or self._clash(raw, path)
        if marker and size and not reason:
            reason = "marker-with-content", f"it ends in '/' and has {size} bytes of content"
        if reason:
            error = StoreError(f"{key!r} has no place in {self._names.root!r}: {reason[1]}")
            return Problem(key, reason[0], error)
        if not marker:
            self._files.append(raw)
        if self._spelled is not None:
            self._spelled.update((self._names.fold(part), part) for part in _upwards(path))
        return Place(path, marker)

    def _clash(self, raw: bytes, path: str) -> tuple[ProblemKind, str] | None:
        files = self._files
        while files and not raw.startswith(files[-1]):
            files.pop()  # no later key begins with it either
        for file in files:
            if raw[len(file)] == ord("/"):
                return "file-and-directory", f"{os.fsdecode(file)!r} is an object too"
        if self._spelled is not None:
            for part in _upwards(path):
                earlier = self._spelled.get(self._names.fold(part), part)
                if earlier != part:
                    return "same-name", f"{part!r} and {earlier!r} are one name there"
        return None


def key_bytes(key: str) -> bytes:
    """Return what an object store orders keys by."""
    try:
        return key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return key.encode("utf-8", "surrogatepass")


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def refusal(path: str) -> tuple[ProblemKind, str] | None:
    """Say why ``path`` is a relative path on no file system, if so."""
    if "\0" in path:
        return "nul", "it has a NUL character"
    if not path or path[0] in "./" or path[-1] == "/" or "//" in path or "/." in path:
        for segment in path.split("/"):
            if segment in ("", ".", ".."):
                return "segment", f"it has the segment {segment!r}"
    if not path.isascii():
        with contextlib.suppress(UnicodeError):
            if os.fsdecode(os.fsencode(path)) == path:
                return None
        return "encoding", f"file names in {sys.getfilesystemencoding()} cannot spell it"
    return None


def _unfit(path: str, names: FileSystem) -> tuple[ProblemKind, str] | None:
    """Say why this file system cannot hold ``path``, if so; ``path`` is a relative one."""
    raw = os.fsencode(path)
    if len(raw) > names.path_max:
        return "too-long", f"of its {len(raw)} bytes a path there can have {names.path_max}"
    if len(raw) > names.name_max:
        longest = max(map(len, raw.split(b"/")))
        if longest > names.name_max:
            return "too-long", f"a segment has {longest} bytes, a name can have {names.name_max}"
    if path.endswith(".partial") and PARTIAL.fullmatch(path.rpartition("/")[2]):
        return "reserved", "partial files have such names"
    if names.fat_names and _FAT_FORBIDDEN.search(path):
        return "reserved", 'names there have none of <>:"|?*\\ and no dot or space at the end'
    if names.device_names and _DEVICES.search(path):
        return "reserved", "it has the name of a device"
    return None


def failure(where: str, error: OSError) -> StoreError:
    """Say what the file system refused, and where."""
    told = StoreError(f"cannot write {where!r}: {error.strerror or error}")
    told.is_local = True
    return told
