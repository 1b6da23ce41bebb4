"""Recorded answers served again, byte for byte.

A directory of recordings holds ``movie/*.json`` and ``tv/*.json`` (bodies of lists),
``headers/<stem>.headers.json`` (what came with them, where known) and ``errors/*.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from ingest.sandbox import api, replies
from ingest.sandbox.api import DISCOVER
from ingest.sandbox.query import BadPageError, Parameters, page_number
from ingest.sandbox.replies import Headers, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ingest.sandbox.catalogue import Dataset
    from ingest.sandbox.faults import Fault

# True of the recorded connection only, not of the one that serves it now.
_NOT_REPEATED: Final = frozenset(
    {"transfer-encoding", "connection", "content-encoding", "content-length", "alt-svc"}
)
_NOT_FOUND: Final = 34


@dataclass(frozen=True, slots=True)
class Page:
    """One recorded answer; ``headers`` is None where they were not recorded."""

    status: int
    headers: Headers | None
    body: bytes

    def reply(self) -> Reply:
        """Make the answer to send: with the headers of a page made now where none were recorded."""
        if self.headers is None:
            return replace(replies.page(self.body), status=self.status)
        return Reply(self.status, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything a directory of recordings holds, read once."""

    pages: dict[Dataset, tuple[Page, ...]]
    not_found: Page

    def answer(self, path: str, parameters: Parameters, _fault: Fault | None) -> Reply:
        """Give the n-th recorded list as page n, whatever the filters.

        After the last one come empty pages. A body says what it said when it was recorded, its
        own page number included.
        """
        if path in DISCOVER:
            return self._page(DISCOVER[path], parameters)
        if path.startswith(("/3/movie/", "/3/tv/")):
            return self.not_found.reply()
        return api.answer(path, parameters, None)

    def _page(self, dataset: Dataset, parameters: Parameters) -> Reply:
        try:
            number = page_number(parameters)
        except BadPageError:
            return replies.error(22)
        recorded = self.pages[dataset]
        if number <= len(recorded):
            return recorded[number - 1].reply()
        envelope = json.loads(recorded[-1].body)
        return replies.page(replies.to_json(envelope | {"page": number, "results": []}))


def load(directory: Path) -> Recording:
    """Read a directory of recordings.

    Lists with many pages come first (then by file name), because one that says it is the only
    page would end a reader there. Files that are not lists, or have no rows, are left out.

    Raises:
        FileNotFoundError: the directory has no list of movies or none of series.

    """
    return Recording(
        pages={"movie": _lists(directory, "movie"), "tv": _lists(directory, "tv")},
        not_found=_not_found(directory),
    )


def _lists(directory: Path, dataset: Dataset) -> tuple[Page, ...]:
    found: list[tuple[int, str, Page]] = []
    for file in (directory / dataset).glob("*.json"):
        page = _recorded(directory, file, HTTPStatus.OK)
        envelope = json.loads(page.body)
        if isinstance(envelope, dict) and envelope.get("results") and "total_pages" in envelope:
            found.append((-envelope["total_pages"], file.name, page))
    if not found:
        message = f"no recorded list in {directory / dataset}"
        raise FileNotFoundError(message)
    return tuple(page for _, _, page in sorted(found, key=lambda each: each[:2]))


def _not_found(directory: Path) -> Page:
    """Find a recorded 404 with its headers if there is one, the first by name of those."""
    found: list[tuple[bool, str, Page]] = []
    for file in (directory / "errors").glob("*.json"):
        page = _recorded(directory, file, HTTPStatus.NOT_FOUND)
        error = json.loads(page.body)
        if isinstance(error, dict) and error.get("status_code") == _NOT_FOUND:
            found.append((page.headers is None, file.name, page))
    if not found:
        made = replies.error(_NOT_FOUND)
        return Page(made.status, made.headers, made.body)
    return min(found, key=lambda each: each[:2])[2]


def _recorded(directory: Path, file: Path, status: int) -> Page:
    """Read a body with its headers and status; ``status`` where they were not recorded."""
    known = directory / "headers" / f"{file.stem}.headers.json"
    if not known.exists():
        return Page(status, None, file.read_bytes())
    exchange = json.loads(known.read_bytes())
    return Page(exchange["status"], tuple(_lines(exchange["headers"])), file.read_bytes())


def _lines(headers: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Header lines; a name with several values was sent several times."""
    for name, value in headers.items():
        if name.lower() in _NOT_REPEATED:
            continue
        yield from ((name, each) for each in (value if isinstance(value, list) else [value]))
