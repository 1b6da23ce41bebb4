"""Names that a transfer is for, instead of all there is: the list of ``--files-from``."""

from __future__ import annotations

from bisect import bisect_left
from codecs import BOM_UTF8
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Names:
    """Keys relative to the root of a transfer, each once, in the order in which a bucket lists."""

    def __init__(self, names: Iterable[str]) -> None:
        """Keep ``names`` in memory."""
        self._names = sorted(set(names))

    def __contains__(self, key: str) -> bool:
        """Whether ``key`` is one of them."""
        at = bisect_left(self._names, key)
        return at < len(self._names) and self._names[at] == key

    def __iter__(self) -> Iterator[str]:
        """Yield them in order."""
        return iter(self._names)

    def after(self, key: str) -> list[str]:
        """Return those that come after ``key``."""
        return self._names[bisect_left(self._names, key + "\0") :]

    def are_below(self, directory: str) -> bool:
        """Whether any is below ``directory``, which ends in ``/``."""
        at = bisect_left(self._names, directory)
        return at < len(self._names) and self._names[at].startswith(directory)


def read_names(content: bytes, *, of_files: bool) -> Names:
    """Return the names in ``content``, one a line, or between NULs as ``find -print0`` has them.

    Bytes that are no UTF-8 are kept as Python keeps them in the names of files. ``of_files`` takes
    ``./a`` for ``a``, as the same program prints it.
    """
    content = content.removeprefix(BOM_UTF8)
    if b"\0" in content:
        lines = content.split(b"\0")
    else:
        lines = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    names = (line.decode(errors="surrogateescape") for line in lines if line)
    return Names(name.removeprefix("./") if of_files else name for name in names)
