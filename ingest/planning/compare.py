"""When two entries of the same key count as the same: the three modes of ``--compare``.

One rule holds in every direction: upload, download, and from one store to another. The source is
the truth; what differs is sent. ``s`` and ``d`` are the times of source and destination.

============  ============================  ==============  =================================
mode          sizes and times               verdict         why
============  ============================  ==============  =================================
all           sizes differ                  ``size``
size          sizes are equal               same
size-mtime    s <= d                        same            an upload is later than its file;
                                                            a download has its object's time
size-mtime    s > d, by less than 1 ms      same            stores and file systems cut off
size-mtime    s > d, within the second d,   same, or ask    many stores keep whole seconds,
              which is whole                                and so do some file systems
size-mtime    s > d otherwise               ``newer``,      also on a download, where aws-cli
                                            or ask          calls this the same
checksum      ETags are equal               same            equal sizes and equal hashes
checksum      ETags differ or are missing   ``checksum``,   a file has none, and parts of
                                            or ask          another size make another one
============  ============================  ==============  =================================

"Ask" is ``same_content``, where it is given: pairs whose sizes are equal and that look different
are the only ones it sees. It may compare hashes, whatever the part size, or the time that an
upload left in the metadata. It makes size-mtime repeatable where no rule over times can be: with
a store whose clock is behind, or a file whose time is in the future. Without it, two versions of
the same size written within the same second of a store that keeps whole ones are not told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ingest.storage.base import Entry

Mode = Literal["size-mtime", "size", "checksum"]
Reason = Literal["new", "size", "newer", "checksum"]
Pair = tuple[Entry, Entry]
SameContent = Callable[[Sequence[Pair]], Iterable[bool]]

_PRECISION_S = 0.001


@dataclass(frozen=True, slots=True)
class Compare:
    """How to tell whether a source has to be sent over a destination.

    ``verdict`` returns None for the same, or the reason why not. ``size`` is certain; each other
    reason is a suspicion where there is ``same_content``. That takes pairs, up to a thousand at a
    time so that it can work on them side by side, and returns for each in order whether they are
    the same: False where it cannot tell, since sending again is safe.
    """

    verdict: Callable[[Entry, Entry], Reason | None]
    same_content: SameContent | None = None


def compare_by(mode: Mode, same_content: SameContent | None = None) -> Compare:
    """Return the comparison of ``mode``; see the module for the table."""
    if mode == "size":
        return Compare(_by_size)
    if mode == "checksum":
        return Compare(_by_checksum, same_content)
    return Compare(_by_time if same_content else _by_whole_time, same_content)


def _by_size(source: Entry, destination: Entry) -> Reason | None:
    return None if source.size == destination.size else "size"


def _by_checksum(source: Entry, destination: Entry) -> Reason | None:
    if source.size != destination.size:
        return "size"
    # Some stores answer an empty ETag where they have no hash: two of those say nothing.
    return None if source.etag and source.etag == destination.etag else "checksum"


def _by_time(source: Entry, destination: Entry) -> Reason | None:
    if source.size != destination.size:
        return "size"
    return None if source.modified - destination.modified < _PRECISION_S else "newer"


def _by_whole_time(source: Entry, destination: Entry) -> Reason | None:
    reason = _by_time(source, destination)
    if reason == "newer" and destination.modified % 1 == 0:
        return "newer" if source.modified - destination.modified >= 1 else None
    return reason
