"""The checksums of a data policy, each in the base64 of its header."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from typing import TYPE_CHECKING

from blackpearl_messages import Refused, bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADERS = {
    "content-md5": "MD5",
    "content-crc32": "CRC_32",
    "content-crc32c": "CRC_32C",
    "content-sha256": "SHA_256",
    "content-sha512": "SHA_512",
}
HEADER_NAMES = {
    "MD5": "Content-MD5",
    "CRC_32": "Content-CRC32",
    "CRC_32C": "Content-CRC32C",
    "SHA_256": "Content-SHA256",
    "SHA_512": "Content-SHA512",
}
TYPES = ("NONE", *HEADER_NAMES)


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901
        table.append(value)
    return table


_TABLE = _crc32c_table()


def crc32c(content: bytes) -> int:
    """CRC-32C (Castagnoli), a byte at a time: some 100 ms a MB."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


_DIGESTS = {
    "MD5": lambda content: hashlib.md5(content, usedforsecurity=False).digest(),
    "CRC_32": lambda content: zlib.crc32(content).to_bytes(4, "big"),
    "CRC_32C": lambda content: crc32c(content).to_bytes(4, "big"),
    "SHA_256": lambda content: hashlib.sha256(content).digest(),
    "SHA_512": lambda content: hashlib.sha512(content).digest(),
}


def checksum(kind: str, content: bytes) -> str | None:
    """Return the checksum of a type that is not NONE, as its header has it."""
    return base64.b64encode(_DIGESTS[kind](content)).decode() if kind != "NONE" else None


def check(headers: Mapping[str, str], content: bytes, kind: str, *, required: bool) -> None:
    """Refuse content that is not of its checksum, or whose checksum is not of type ``kind``.

    The codes of a wrong checksum are those of S3; the description tells but the status.
    """
    given = [name for name in HEADERS if name in headers]
    if required and not given and kind != "NONE":
        raise bad_request(f"The data policy requires a checksum of type {kind}")
    for name in given:
        if HEADERS[name] != kind:
            raise bad_request(f"The data policy has checksums of type {kind}, not {HEADERS[name]}")
        verify(HEADERS[name], headers[name], content)


def verify(kind: str, given: str, content: bytes) -> None:
    """Refuse content that is not of the checksum ``given``."""
    right = checksum(kind, content) or ""
    if given == right:
        return
    try:
        size = len(base64.b64decode(given, validate=True))
    except binascii.Error:
        size = 0
    if size != len(base64.b64decode(right)):
        raise Refused(400, "InvalidDigest", f"{given} is no {kind} in base64")
    raise Refused(400, "BadDigest", f"The {kind} of what was received is {right}, not {given}")
