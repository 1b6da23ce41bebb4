"""The checksums that a data policy can ask for, each as the header that carries it."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast, get_args

from ingest.errors import StoreError
from ingest.storage.spectra.signature import CHECKSUM_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed import ReadableBuffer

_PIECE = 1024**2

Kind = Literal["NONE", "MD5", "CRC_32", "CRC_32C", "SHA_256", "SHA_512"]

_HEADERS: dict[Kind, str] = dict(
    zip(("MD5", "CRC_32", "CRC_32C", "SHA_256", "SHA_512"), CHECKSUM_HEADERS, strict=True)
)
_KINDS = {header.lower(): kind for kind, header in _HEADERS.items()}


class Mismatch(StoreError):
    """What came is not what the appliance has, by its checksum."""


class Running(Protocol):
    """A checksum of what it was given so far."""

    def update(self, chunk: ReadableBuffer, /) -> object:
        """Take ``chunk`` in."""

    def digest(self) -> bytes:
        """Return the checksum, a CRC with its highest byte first."""


class _Crc:
    def __init__(self, extend: Callable[[int, ReadableBuffer], int]) -> None:
        self._extend = extend
        self._value = 0

    def update(self, chunk: ReadableBuffer) -> None:
        self._value = self._extend(self._value, chunk)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _crc32() -> Running:
    return _Crc(lambda value, chunk: zlib.crc32(chunk, value))


def _crc32c() -> Running:
    import google_crc32c  # noqa: PLC0415 - of a policy that few have

    return _Crc(lambda value, chunk: google_crc32c.extend(value, bytes(chunk)))


class _None:
    def update(self, chunk: ReadableBuffer) -> None:
        pass

    def digest(self) -> bytes:
        return b""


def _md5() -> Running:
    return hashlib.md5(usedforsecurity=False)


_RUNNING: dict[Kind, Callable[[], Running]] = {
    "NONE": _None,
    "MD5": _md5,
    "CRC_32": _crc32,
    "CRC_32C": _crc32c,
    "SHA_256": hashlib.sha256,
    "SHA_512": hashlib.sha512,
}


def kind_of(name: str) -> Kind:
    """Return the kind that a data policy calls ``name``. Raises ``StoreError`` for another.

    Version 3 of the appliance calls CRC-32 just ``CRC``.
    """
    found = "CRC_32" if name == "CRC" else name
    if found not in get_args(Kind):
        raise StoreError(f"the bucket's data policy has checksums of the type {name!r}")
    return cast("Kind", found)


def running(kind: Kind) -> Running:
    """Return a checksum of nothing, to be updated."""
    return _RUNNING[kind]()


def header(kind: Kind, checksum: Running) -> dict[str, str]:
    """Return the header of a checksum that is complete; none for ``NONE``."""
    if kind == "NONE":
        return {}
    return {_HEADERS[kind]: base64.b64encode(checksum.digest()).decode()}


def header_of(kind: Kind, content: bytes) -> dict[str, str]:
    """Return the header of the checksum of ``content``."""
    checksum = running(kind)
    checksum.update(content)
    return header(kind, checksum)


def of_file(kind: Kind, file: BinaryIO, length: int) -> str:
    """Return the checksum, in base64, of the next ``length`` bytes of ``file``, or fewer."""
    checksum = running(kind)
    while length and (piece := file.read(min(length, _PIECE))):
        checksum.update(piece)
        length -= len(piece)
    return base64.b64encode(checksum.digest()).decode()


class Expected:
    """The checksum that an answer says its content has, if it says any."""

    def __init__(self, headers: Mapping[str, str], sha256: str = "") -> None:
        """Look for it among ``headers``, whose names are in lower case.

        ``sha256`` is in hexadecimal, of the same content, and compared as well; empty for none.
        """
        self._all = [
            (kind, base64.b64decode(headers[name]), running(kind))
            for name, kind in _KINDS.items()
            if name in headers
        ]
        if sha256:
            self._all.append(("SHA_256", bytes.fromhex(sha256), running("SHA_256")))

    def update(self, chunk: ReadableBuffer) -> None:
        """Take ``chunk`` of the content in."""
        for _, _, checksum in self._all:
            checksum.update(chunk)

    def difference(self) -> str | None:
        """Return how what was taken in differs from what was said; None where it does not."""
        for kind, said, checksum in self._all:
            if (came := checksum.digest()) != said:
                return f"what came has the {kind} {came.hex()}, the store's is {said.hex()}"
        return None
