"""What goes in and out of the BlackPearl of tests: requests, replies and refusals as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REST = "/_rest_/"


class Refused(Exception):
    """What was asked is refused, with the status and the code that the client is told."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def bad_request(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


@dataclass(frozen=True)
class Request:
    """A request with all of its body; ``path`` and ``raw_query`` are escaped, as they were sent.

    The names of ``headers`` are in lower case, those that came twice are joined by a comma.
    """

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters; their names are not case-sensitive.

        A plus is a space, as in the forms that servers in Java read queries as.
        """
        pairs = (each.partition("=") for each in self.raw_query.split("&") if each)
        return {unquote(name).lower(): unquote_plus(value) for name, _, value in pairs}

    @cached_property
    def bucket_and_key(self) -> tuple[str, str]:
        """The bucket and the key of a path outside of ``/_rest_/``, exact."""
        bucket, _, key = self.path[1:].partition("/")
        return decoded(bucket), decoded(key)

    def only(self, *names: str) -> None:
        """Refuse parameters that this request does not have."""
        if unknown := self.query.keys() - set(names):
            raise bad_request(f"Unknown or unsupported query parameters: {sorted(unknown)}")

    def number(self, name: str) -> int | None:
        """Return a parameter as a number that is not negative."""
        value = self.query.get(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit():
            raise bad_request(f"{name} is no number: {value}")
        return int(value)

    def flag(self, name: str) -> bool:
        """Return a parameter that is TRUE or FALSE."""
        value = self.query.get(name, "false").lower()
        if value not in ("true", "false"):
            raise bad_request(f"{name} is neither TRUE nor FALSE: {value}")
        return value == "true"


@dataclass(frozen=True)
class Reply:
    """An answer; ``delivered`` is called when all of it is sent.

    ``length`` is what Content-Length says of an answer to HEAD, which has no body.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    delivered: Callable[[], None] | None = None


def decoded(escaped: str) -> str:
    try:
        return unquote(escaped, errors="strict")
    except UnicodeDecodeError:
        raise bad_request(f"The path is not UTF-8: {escaped}") from None
