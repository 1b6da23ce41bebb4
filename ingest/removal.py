"""Delete an object, or what is below a prefix."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from ingest.errors import BucketNotFound, NotFound
from ingest.operation import Operation
from ingest.planning.filters import key_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.planning.filters import Rule
    from ingest.storage.base import Entry, Store, Transfer

_BATCH = 1_000


def remove(
    store: Store, prefix: str, rules: tuple[Rule, ...], how: Transfer, *, dry_run: bool
) -> Iterator[Operation]:
    """Delete the objects below ``prefix``, which is empty or ends in ``/``, that ``rules`` choose.

    All of it goes by one request where the store has one. Else the listing is read as it is
    deleted, so that memory does not grow with it.
    """
    there = store.delete_below(prefix) if prefix and not rules and not dry_run else None
    if there:
        yield Operation("delete", f"{store.url}/{prefix}", reason="and all below it")
    if there is not None:
        return
    chosen = key_filter(rules)
    found = (entry for entry in store.list(prefix) if chosen(entry.key.removeprefix(prefix)))
    while batch := list(islice(found, _BATCH)):
        yield from _delete(store, batch, how, dry_run=dry_run)


def remove_one(store: Store, key: str, how: Transfer, *, dry_run: bool) -> Iterator[Operation]:
    """Delete the object ``key``. Raises ``NotFound`` where there is none to delete."""
    try:
        found = store.head(key)
    except BucketNotFound:
        raise
    except NotFound as error:
        raise NotFound(error.message, hint="for a directory: --recursive") from None
    yield from _delete(store, [found], how, dry_run=dry_run)


def _delete(
    store: Store, entries: Iterable[Entry], how: Transfer, *, dry_run: bool
) -> Iterator[Operation]:
    if dry_run:
        for entry in entries:
            yield Operation("delete", f"{store.url}/{entry.key}", status="planned")
        return
    for outcome in store.delete_many([entry.key for entry in entries], how):
        target = f"{store.url}/{outcome.key}"
        if outcome.error:
            yield Operation("delete", target, status="failed", error=outcome.error)
        else:
            yield Operation("delete", target)
