"""Items of a bulk, cut into what one job can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")


def batches(
    items: Iterable[Item],
    most: int,
    told: Callable[[Item], tuple[str, int]],
    most_bytes: int,
) -> Iterator[list[Item]]:
    """Cut ``items`` into lists of at most ``most``, taking them as they are needed.

    ``told`` returns an item's key and how many bytes it takes here meanwhile. In one list no key
    is twice, and its bytes are no more than ``most_bytes``, but for a single item.
    """
    batch: dict[str, Item] = {}
    total = 0
    for item in items:
        key, size = told(item)
        if batch and (len(batch) == most or key in batch or total + size > most_bytes):
            yield list(batch.values())
            batch, total = {}, 0
        batch[key] = item
        total += size
    if batch:
        yield list(batch.values())
