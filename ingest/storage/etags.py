"""ETags of objects that were uploaded in parts, and how to recompute them from a file.

S3 gives an object written whole the MD5 of its content, and one written in N parts the MD5 of
its parts' MD5s, followed by ``-N``. The part size is not recorded: it has to be guessed from the
sizes that tools use. Encrypted with a key of KMS or of the customer, an object has neither, and
some stores have ETags of their own.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MIB = 1 << 20

_IN_PARTS = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})")
_WHOLE = re.compile(r"[0-9a-f]{32}")
_BLOCK = 256 << 10

# In bytes, the likeliest first: aws-cli and boto3 use 8 MiB, rclone 5, mc and this package 16,
# s5cmd 50; the rest are round numbers that people and other tools choose.
_USUAL_SIZES = tuple(
    mib * MIB for mib in (8, 16, 5, 50, 64, 100, 15, 10, 32, 128, 20, 25, 256, 512)
)
_MOST_PARTS = 10_000


def is_md5(etag: str) -> bool:
    """Whether ``etag``, without quotes, looks like the MD5 of an object's or a part's content."""
    return _WHOLE.fullmatch(etag) is not None


def parts_in(etag: str) -> int | None:
    """Return in how many parts an object with this ETag was uploaded; None where it tells none."""
    found = _IN_PARTS.fullmatch(etag)
    return int(found[1]) if found else None


def etag_of_parts(digests: Iterable[bytes]) -> str:
    """Return the ETag, without quotes, of an object in parts of these MD5s."""
    whole = hashlib.md5(usedforsecurity=False)
    number = 0
    for digest in digests:
        whole.update(digest)
        number += 1
    return f"{whole.hexdigest()}-{number}"


def etag_of(path: Path, part_size: int | None) -> str:
    """Return the ETag, without quotes, that a file would have in parts of ``part_size`` bytes.

    Without ``part_size`` it is that of an object written whole. Reads the file once, in blocks.
    Raises ``OSError``.
    """
    with path.open("rb", buffering=0) as file:
        if part_size is None:
            return hashlib.file_digest(file, _md5).hexdigest()
        digests = []
        digest, left = _md5(), part_size
        while block := file.read(min(_BLOCK, left)):
            digest.update(block)
            left -= len(block)
            if not left:
                digests.append(digest.digest())
                digest, left = _md5(), part_size
        if left < part_size or not digests:
            digests.append(digest.digest())
    return etag_of_parts(digests)


def etag_of_chunks(chunks: Iterable[bytes], part_size: int | None) -> str:
    """Return what ``etag_of`` does, of content that comes in order, in pieces of any size."""
    digests, digest, left = [], _md5(), part_size
    for chunk in chunks:
        view = memoryview(chunk)
        while left is not None and len(view) >= left:
            digest.update(view[:left])
            digests.append(digest.digest())
            view, digest, left = view[left:], _md5(), part_size
        digest.update(view)
        if left is not None:
            left -= len(view)
    if part_size is None:
        return digest.hexdigest()
    if left != part_size or not digests:
        digests.append(digest.digest())
    return etag_of_parts(digests)


def plausible_part_sizes(size: int, parts: int) -> tuple[int, ...]:
    """Return the part sizes, in bytes, in which a tool would make ``parts`` parts of ``size``.

    The likeliest comes first. Beside the usual sizes these are what tools grow them to for large
    files: whole mebibytes (rclone, this package), doubled (boto3), a ten-thousandth and one byte
    (s5cmd). A size that somebody chose by hand can be missing.
    """
    if size < 1 or parts < 1:
        return ()
    doubled = 8 * MIB
    while -(-size // doubled) > _MOST_PARTS:
        doubled *= 2
    grown = whole_mebibytes(-(-size // parts))
    candidates = dict.fromkeys((*_USUAL_SIZES, doubled, grown, size // _MOST_PARTS + 1))
    return tuple(each for each in candidates if -(-size // each) == parts)


def whole_mebibytes(size: int) -> int:
    """Return ``size`` rounded up to a multiple of 1 MiB."""
    return -(-size // MIB) * MIB


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)
