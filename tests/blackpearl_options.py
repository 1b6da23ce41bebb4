"""How the BlackPearl of tests behaves, as one value."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True)
class Options:
    """Nothing here takes time: what takes minutes on an appliance takes answers here.

    ``blob_size`` bytes are the most that a blob has, and ``chunk_blobs`` blobs a chunk.
    ``shuffled`` spreads the blobs of a job over its chunks, in no order, and offers the last chunk
    first. ``repeated`` offers chunks again that are done, as long as their job is not.

    ``cache_size`` bytes are for what is being written: a chunk that finds no room is not offered
    and its blobs are answered with 307, until one that is complete has gone to tape, which takes
    ``tape_polls`` polls. With these, what is complete is on tape only: each chunk of a GET job is
    offered after so many polls more, and a plain GET answered with 307 as often.
    ``retry_after`` is what the client is then told to wait, in seconds.

    ``checksum_type`` and ``versioning`` are of buckets that are made without a data policy;
    ``checksum_required`` refuses blobs without a checksum.

    ``gone`` is the status for chunks of a job that is over: 404 in version 1, 410 in 3.
    ``empty_at_once`` takes objects of no bytes for received when their job begins, as both did
    (the vendor's ``Regression_Test.java``). ``lose_job_after`` loses a job after so many requests
    for its blobs, ``max_jobs`` is how many there may be at a time. ``ltfs_names`` refuses the names
    that tapes in LTFS cannot have.

    ``node`` is the address of its only node, or what stands there while it has none.
    ``omit`` names elements and attributes of answers that are left out of all of them, ``bom``
    begins them with a byte order mark, ``bare_errors`` leaves the body of errors out.
    ``clock_offset_s`` is how much the server's clock is ahead.
    """

    blob_size: int = 100 * GIB
    chunk_blobs: int = 500
    shuffled: bool = False
    repeated: bool = False
    cache_size: int | None = None
    tape_polls: int = 0
    retry_after: int = 0
    checksum_type: str = "MD5"
    checksum_required: bool = False
    versioning: str = "KEEP_LATEST"
    gone: int = 410
    empty_at_once: bool = False
    lose_job_after: int | None = None
    max_jobs: int | None = None
    ltfs_names: bool = False
    node: str = "127.0.0.1"
    omit: frozenset[str] = frozenset()
    bom: bool = False
    bare_errors: bool = False
    clock_offset_s: float = 0.0
