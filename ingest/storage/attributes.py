"""Attributes of files as metadata of objects, in the words of others' tools, and back.

``as_s3`` has the words of rclone, ``as_spectra`` those of the vendor of BlackPearl: each tool gives
back what we have kept, and we what it has. An object may have been copied from one service to the
other, so that both are read, wherever they are found.
"""

from __future__ import annotations

import functools
import platform
import re
import stat
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.files.attributes import PERMISSIONS, Attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ingest.storage.base import PutItem

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND, _MILLISECOND = 10**9, 10**6
_TIMES = 2**63
"""Times are within so many nanoseconds of 1970, some 292 years."""
_NOBODY = 2**32 - 1
"""As an owner it means to leave the one there is."""
_SECONDS = re.compile(r"(-?)([0-9]{1,10})(?:\.([0-9]+))?")
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_MILLISECONDS = re.compile(r"-?[0-9]{1,14}")
_ID = re.compile(r"[0-9]{1,10}")
_MODE = re.compile(r"[0-9]{1,7}")
_PERMISSIONS = re.compile(r"([0-7]{3})\(.*")


def with_attributes(item: PutItem, words: Callable[[Attributes], dict[str, str]]) -> PutItem:
    """Return ``item`` with the attributes of its file in its metadata; bytes have none.

    They are those of ``item.stat``, where it has that. What its metadata has already, wins. Raises
    ``StoreError`` where the file cannot be looked at.
    """
    if isinstance(item.source, bytes):
        return item
    try:
        found = item.stat or item.source.stat()
    except OSError as error:
        raise StoreError(f"cannot read {item.source}: {error.strerror or error}") from None
    own = {name.lower() for name in item.metadata}
    told = {name: text for name, text in words(Attributes.of(found)).items() if name not in own}
    return replace(item, metadata={**item.metadata, **told}, stat=found)


def as_s3(attributes: Attributes) -> dict[str, str]:
    """Return metadata as rclone writes it to S3, by lower-case names."""
    told = {"mtime": _decimal(attributes.mtime_ns)}
    if attributes.atime_ns is not None:
        with suppress(OverflowError):  # after the year 9999
            told["atime"] = _rfc_3339(attributes.atime_ns)
    if attributes.mode is not None:
        told["mode"] = f"{attributes.mode:o}"
    return told | _ids("uid", "gid", attributes)


def as_spectra(attributes: Attributes) -> dict[str, str]:
    """Return metadata as the vendor's tools write it to a BlackPearl, by lower-case names.

    These give times back only where there are three: here the file was made when it was modified.
    """
    modified = str(attributes.mtime_ns // _MILLISECOND)
    read = attributes.mtime_ns if attributes.atime_ns is None else attributes.atime_ns
    told = {
        "ds3-last-modified-time": modified,
        "ds3-creation-time": modified,
        "ds3-last-access-time": str(read // _MILLISECOND),
        "ds3-os": platform.system(),
    }
    if attributes.mode is not None:
        told["ds3-mode"] = f"{attributes.mode:o}"
        permissions = attributes.mode & PERMISSIONS
        told["ds3-permissions"] = f"{permissions:03o}({stat.filemode(permissions)[1:]})"
    if name := attributes.uid is not None and _user(attributes.uid):
        told["ds3-ownername"] = name
    if name := attributes.gid is not None and _group(attributes.gid):
        told["ds3-groupname"] = name
    return told | _ids("ds3-uid", "ds3-gid", attributes)


def read(metadata: Mapping[str, str], modified: float) -> Attributes:
    """Return what ``metadata`` has of a file, whatever anybody has written there.

    What cannot be read is left out. ``modified`` is the time of the object, in seconds of Unix
    time, for one that does not tell its file's. Of a mode the permissions alone are taken, and none
    of what is no regular file.
    """
    told = {name.lower(): text.strip() for name, text in metadata.items()}

    def first(*readers: tuple[str, Callable[[str], int | None]]) -> int | None:
        found = (reader(told[name]) for name, reader in readers if name in told)
        return next((value for value in found if value is not None), None)

    mtime_ns = first(("mtime", _moment), ("ds3-last-modified-time", _milliseconds))
    return Attributes(
        round(modified * _SECOND) if mtime_ns is None else mtime_ns,
        first(("atime", _moment), ("ds3-last-access-time", _milliseconds)),
        first(("mode", _mode), ("ds3-mode", _mode), ("ds3-permissions", _permissions)),
        first(("uid", _id), ("ds3-uid", _id)),
        first(("gid", _id), ("ds3-gid", _id)),
    )


# To text


def _ids(user: str, group: str, attributes: Attributes) -> dict[str, str]:
    found = {user: attributes.uid, group: attributes.gid}
    return {name: str(value) for name, value in found.items() if value is not None}


def _decimal(moment_ns: int) -> str:
    seconds, rest = divmod(abs(moment_ns), _SECOND)
    return f"{'-' if moment_ns < 0 else ''}{seconds}.{rest:09d}"


def _rfc_3339(moment_ns: int) -> str:
    seconds, rest = divmod(moment_ns, _SECOND)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]}.{rest:09d}Z"


@functools.cache
def _user(uid: int) -> str | None:
    with suppress(ImportError, KeyError):
        import pwd  # noqa: PLC0415 - not every system has it

        return pwd.getpwuid(uid).pw_name
    return None


@functools.cache
def _group(gid: int) -> str | None:
    with suppress(ImportError, KeyError):
        import grp  # noqa: PLC0415 - as above

        return grp.getgrgid(gid).gr_name
    return None


# From text


def _moment(text: str) -> int | None:
    """Read seconds of Unix time, or the date that rclone writes to some services instead."""
    if found := _SECONDS.fullmatch(text):
        sign, seconds, rest = found.groups()
        size = int(seconds) * _SECOND + _nanoseconds(rest)
        return _within(-size if sign else size)
    if found := _RFC_3339.fullmatch(text):
        day, time, rest, zone = found.groups()
        with suppress(ValueError):  # the 30th of February
            at = datetime.fromisoformat(f"{day}T{time}{zone.upper()}")
            return _within((at - _EPOCH) // timedelta(seconds=1) * _SECOND + _nanoseconds(rest))
    return None


def _nanoseconds(digits: str | None) -> int:
    return int((digits or "")[:9].ljust(9, "0"))


def _milliseconds(text: str) -> int | None:
    return _within(int(text) * _MILLISECOND) if _MILLISECONDS.fullmatch(text) else None


def _within(moment_ns: int) -> int | None:
    return moment_ns if -_TIMES < moment_ns < _TIMES else None


def _mode(text: str) -> int | None:
    """Read the mode of a regular file: octal digits, or the decimal ones that s3fs writes.

    No digits are both: what kind of file they tell is another in the one than in the other.
    """
    if not _MODE.fullmatch(text):
        return None
    if not set(text) & {"8", "9"} and _kind(octal := int(text, 8)) in (0, stat.S_IFREG):
        return octal & PERMISSIONS
    decimal = int(text)
    return decimal & PERMISSIONS if _kind(decimal) == stat.S_IFREG else None


def _kind(mode: int) -> int:
    """Return all of a mode that is above the permissions; ``stat.S_IFMT`` cuts it at 16 bits."""
    return mode & ~0o7777


def _permissions(text: str) -> int | None:
    found = _PERMISSIONS.fullmatch(text)
    return int(found[1], 8) if found else None


def _id(text: str) -> int | None:
    return int(text) if _ID.fullmatch(text) and int(text) < _NOBODY else None
