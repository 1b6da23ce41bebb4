"""An appliance as a whole: its buckets, what it is, how it is, and where objects are."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingest.errors import CredentialsRefused, NotFound, StoreError
from ingest.storage.spectra import documents
from ingest.storage.spectra.patience import Stop
from ingest.storage.spectra.place import Place, rest
from ingest.storage.spectra.wire import Conflict, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.storage.spectra.wire import Wire


@dataclass(frozen=True, slots=True)
class Information:
    """What an appliance says of itself; ``now`` is its time, in seconds of Unix time."""

    version: str
    serial_number: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class Tape:
    """A cartridge that objects are on; ``state`` is such as NORMAL or EJECTED."""

    bar_code: str
    state: str
    kind: str


def list_buckets(wire: Wire) -> list[tuple[str, str | None]]:
    """Return the buckets that the user may see: their names, and when they were made."""
    request = Request("cannot list the buckets", "GET", "/")
    found = wire.read(request, lambda body: documents.items(body, "Bucket"), Stop())
    return [(each.get("Name", ""), _to_the_second(each.get("CreationDate", ""))) for each in found]


def _to_the_second(moment: str) -> str | None:
    at = documents.seconds(moment)
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" if at else None


def make_bucket(wire: Wire, bucket: str) -> bool:
    """Make ``bucket``, under the user's own data policy; return False where it is there already.

    Raises ``StoreError`` where the name is not allowed, or the bucket is not for this user.
    """
    place = Place(wire, bucket)
    try:
        wire.call(Request(f"cannot make {place.url}", "PUT", place.path()), Stop())
    except Conflict as error:
        head = Request(f"cannot look at {place.url}", "HEAD", place.path())
        with suppress(CredentialsRefused, NotFound):
            wire.call(head, Stop())
            return False
        raise error from None
    return True


def remove_bucket(wire: Wire, bucket: str, *, force: bool = False) -> None:
    """Remove ``bucket``; with ``force`` and all that is in it, by one request.

    Raises ``BucketNotFound``, and ``StoreError`` where it is not empty.
    """
    place = Place(wire, bucket)
    what = f"cannot remove {place.url}"
    if force:
        request = rest(what, "DELETE", "bucket", bucket, query={"force": None})
    else:
        request = Request(what, "DELETE", place.path())
    try:
        wire.call(request, Stop())
    except Conflict as error:
        raise StoreError(error.message, hint="rb --force removes all that is in it") from None


def information(wire: Wire) -> Information:
    """Return what the appliance says of itself."""
    request = rest("cannot ask what the appliance is", "GET", "system_information")
    told = wire.read(request, documents.data, Stop())
    return Information(
        told.get("Version", ""),
        told.get("SerialNumber", ""),
        documents.is_true(told.get("BackendActivated", "true")),
    )


def health(wire: Wire) -> dict[str, str]:
    """Return what the appliance says of its health, by name. Raises where it is not well."""
    request = rest("cannot ask how the appliance is", "GET", "system_health")
    return wire.read(request, documents.data, Stop())


def tapes_of(place: Place, keys: Iterable[str]) -> list[Tape]:
    """Return the tapes that some of the objects ``keys`` are on. Raises ``NotFound``."""
    request = rest(
        f"cannot look where objects of {place.url} are",
        "PUT",
        "bucket",
        place.bucket,
        query={"operation": "get_physical_placement"},
        body=documents.objects((key, {}) for key in keys),
    )
    found = place.wire.read(request, lambda body: documents.items(body, "Tape"), Stop())
    return [
        Tape(each.get("BarCode", ""), each.get("State", ""), each.get("Type", "")) for each in found
    ]
