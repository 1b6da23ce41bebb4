"""The plan of statemachine/transfer.asl.json, carried out by this machine alone."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from ingest.errors import CredentialsRefused, Incomplete
from ingest.remote.copying import Compared, Copied, compare, copy_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.pacing import Deadline
    from ingest.remote.ends import Ends
    from ingest.storage.base import Transfer

BATCH = 1_000
"""Objects of a batch: as many as a page of a listing has."""


def transfer(ends: Ends, deadline: Deadline, how: Transfer) -> Iterator[Copied | Incomplete]:
    """Copy all that ``ends.source`` has, batch by batch; yield what became of each.

    Raises ``CredentialsRefused`` at the first batch that has it, and what reading a listing raises.
    """
    listing = ends.source.store.list(ends.source.prefix)
    while entries := list(islice(listing, BATCH)):
        try:
            yield copy_batch(ends.source, ends.target, entries, deadline, how)
        except CredentialsRefused:
            raise
        except Incomplete as error:
            yield error


def verify(ends: Ends, deadline: Deadline) -> Compared:
    """Look for everything that ``ends.source`` has in ``ends.target``."""
    return compare(ends.source, ends.target, Compared(), deadline)
