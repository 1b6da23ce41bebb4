"""HTTP/1.1 answers as they come from a server: the head, and a body of known length or in chunks.

The standard library's client reads a head with its parser of e-mail: with all it does around that,
an answer takes four times as long as everything else that sending a small file takes. What is read
here is what RFC 9112 has; what it does not allow is told as an answer that was cut short or cannot
be read, never taken for a whole one.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader

_HEAD = 262_144
"""Bytes: user metadata may be large, a head that does not end is not to fill the memory."""
_HEADS = 100
"""Of which all but the last say that an answer will come."""
_LINE = 65_536
_END = b"\r\n\r\n"
_PIECE = 1_048_576
_TO_THE_END = 1 << 62
"""The length of a body that ends with the connection."""
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,15}")
_CUT_SHORT = "the answer was cut short"
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Malformed(Exception):
    """What came is no answer of HTTP/1.1, or not all of it."""


class Unreachable(Exception):
    """Nothing, or no whole answer, came from the server; ``str`` says why.

    ``is_final`` where the next try would end the same way: a name that is none, a certificate
    that is not trusted, no TLS where it is wanted.
    """

    def __init__(
        self, error: OSError | Malformed | ValueError, *, is_final: bool | None = None
    ) -> None:
        """Say what ``error`` does, in the system's words where it has some."""
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        super().__init__(said or type(error).__name__)
        self.is_final = isinstance(error, ValueError) if is_final is None else is_final


class Reply:
    """An answer whose head has been read. Methods raise ``Unreachable``.

    The names of ``headers`` are lower-case; what came more than once is joined by a comma.
    """

    def __init__(self, stream: BufferedReader, method: str) -> None:
        """Read the head of the answer to ``method``, and those that only say to wait for it."""
        self._stream = stream
        try:
            for _ in range(_HEADS):
                self.status, persistent, self.headers = _head(stream)
                if self.status >= HTTPStatus.OK:
                    break
            else:
                raise Malformed("the server says again and again that it will answer")  # noqa: TRY301 - with the others
            self._chunked, self._left = self._framing(method)
        except (OSError, Malformed) as error:
            raise Unreachable(error) from None
        tokens = self.headers.get("connection", "").lower()
        self.persistent = persistent and "close" not in tokens and self._left != _TO_THE_END
        """Whether another answer may follow on the connection."""

    @property
    def ended(self) -> bool:
        """Whether the body has been read, to its end and beyond doubt."""
        return not self._left and not self._chunked

    def at_end(self) -> bool:
        """Whether nothing more comes; a byte more would be lost."""
        return not self.read(1)

    def read(self, most: int) -> bytes:
        """Return the rest of the body, or the next ``most`` bytes of it."""
        pieces = []
        try:
            while (available := self._available()) and most:
                # Memory for so many bytes is taken before any comes.
                ahead = _PIECE if available == _TO_THE_END else available
                piece = self._stream.read(min(ahead, most))
                self._took(len(piece))
                pieces.append(piece)
                most -= len(piece)
        except (OSError, Malformed) as error:
            raise Unreachable(error) from None
        return b"".join(pieces)

    def fill(self, view: memoryview) -> None:
        """Read exactly as many bytes of the body as ``view`` takes."""
        filled = 0
        try:
            while filled < len(view):
                size = min(self._available(), len(view) - filled)
                size = self._stream.readinto(view[filled : filled + size])
                if not size:
                    raise Malformed(_CUT_SHORT)  # noqa: TRY301 - with the others
                self._took(size)
                filled += size
        except (OSError, Malformed) as error:
            raise Unreachable(error) from None

    def _framing(self, method: str) -> tuple[bool, int]:
        """Return whether the body comes in chunks, and how many bytes of it come next."""
        if method == "HEAD" or self.status in _WITHOUT_BODY:
            return False, 0
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return True, 0
        told = self.headers.get("content-length")
        if told is None:
            return False, _TO_THE_END
        if not (told.isascii() and told.isdecimal()):
            raise Malformed(f"the answer has the length {told!r}")
        return False, int(told)

    def _available(self) -> int:
        """Return how many bytes come next before another chunk begins; 0 at the end."""
        if self._chunked and not self._left:
            self._left = _chunk_size(self._stream)
            if not self._left:
                self._chunked = False
                while _line(self._stream):  # trailers
                    pass
        return self._left

    def _took(self, size: int) -> None:
        """Count what was read; nothing is the end of the connection."""
        if self._left == _TO_THE_END:
            self._left = _TO_THE_END if size else 0
            return
        if not size:
            raise Malformed(_CUT_SHORT)
        self._left -= size
        if self._chunked and not self._left and _line(self._stream):
            raise Malformed("a chunk of the answer does not end where it should")


def _head(stream: BufferedReader) -> tuple[int, bool, Mapping[str, str]]:
    """Return status, whether the connection persists by default, and the headers."""
    first, *lines = _lines(stream)
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        raise Malformed(f"the answer is no HTTP/1.1, but {first[:40]!r}")
    pairs = [line.partition(":") for line in lines]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if len(headers) < len(lines) or min(lines, default="!") < "!":
        headers = _joined(lines)
    return int(rest[:3]), version != "HTTP/1.0", headers


def _joined(lines: list[str]) -> dict[str, str]:
    """Return the headers of a head where some came more than once, or on more than one line."""
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[0] in " \t":  # the old way to go on with a value
            headers[name] = f"{headers.get(name, '')} {line.strip()}"
            continue
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _lines(stream: BufferedReader) -> list[str]:
    """Return the lines of a head, most often all at once: one by one they take twice as long."""
    there = stream.peek(1)
    if (end := there.find(_END)) > 0:
        head = stream.read(end + len(_END))[:end]
        lines = head.decode("latin-1").split("\r\n")
        if head.count(b"\n") != len(lines) - 1:  # where it ends is not where it seems to
            raise Malformed("the head of the answer has a line that does not end as one does")
        return lines
    lines = [_line(stream)]
    left = _HEAD
    while line := _line(stream):
        lines.append(line)
        left -= len(line) + 2
        if left < 0:
            raise Malformed("the head of the answer does not end")
    return lines


def _line(stream: BufferedReader) -> str:
    line = stream.readline(_LINE)
    if not line.endswith(b"\n"):
        raise Malformed(_CUT_SHORT if line else "the server hung up without an answer")
    return line.rstrip(b"\r\n").decode("latin-1")


def _chunk_size(stream: BufferedReader) -> int:
    digits = _line(stream).partition(";")[0].strip()
    if not _HEXADECIMAL.fullmatch(digits):
        raise Malformed(f"the answer has a chunk of {digits[:40]!r} bytes")
    return int(digits, 16)
