"""A client of the BlackPearl of tests that is as plain as can be, with a signer of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
from contextlib import closing
from dataclasses import dataclass, field
from email.utils import formatdate
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Self
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from blackpearl import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CHECKSUMS = ("md5", "crc32", "crc32c", "sha256", "sha512")
_SIGNED = ("delete", "uploads", "versions")


@dataclass(frozen=True)
class Said:
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)  # noqa: S314 - of a server of ours

    @property
    def code(self) -> str | None:
        return self.xml.findtext("Code")

    def texts(self, path: str) -> list[str | None]:
        return [each.text for each in self.xml.iterfind(path)]

    @property
    def blobs(self) -> list[tuple[str | None, int, int]]:
        """The name, offset and length of each blob of a job or chunk."""
        return [
            (each.get("Name"), int(each.get("Offset", "")), int(each.get("Length", "")))
            for each in self.xml.iter("Object")
        ]


def sign(secret: str, method: str, resource: str, headers: Mapping[str, str]) -> str:
    """Sign as the vendor's description says; ``headers`` are in lower case."""
    checksum = "".join(headers.get(f"content-{name}", "") for name in _CHECKSUMS)
    lines = [method, checksum, headers.get("content-type", ""), headers["date"]]
    lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-amz-")]
    text = "\n".join([*lines, resource])
    return base64.b64encode(
        hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()
    ).decode()


@dataclass
class Caller:
    """One connection, kept alive for as long as the ``with`` block lasts."""

    port: int
    secret: str = SECRET_KEY
    access: str = ACCESS_KEY
    connection: HTTPConnection = field(init=False)

    def __enter__(self) -> Self:
        self.connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Said:
        """Ask for a decoded path; the query is sent as it is."""
        escaped = quote(path)
        told = {"date": formatdate(), **{k.lower(): v for k, v in (headers or {}).items()}}
        signed = [each for each in query.split("&") if each.partition("=")[0] in _SIGNED]
        resource = escaped + ("?" + "&".join(signed) if signed else "")
        if "authorization" not in told:
            signature = sign(self.secret, method, resource, told)
            told["authorization"] = f"AWS {self.access}:{signature}"
        target = f"{escaped}?{query}" if query else escaped
        if body is None and method == "PUT":
            body = b""
        self.connection.request(method, target, body, told)
        with closing(self.connection.getresponse()) as answer:
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Said(answer.status, names, answer.read())

    def start_put(self, bucket: str, sizes: Mapping[str, int], more: str = "") -> Said:
        rows = (f'<Object Name={quoteattr(key)} Size="{size}"/>' for key, size in sizes.items())
        return self._start("put", bucket, rows, more)

    def start_get(self, bucket: str, keys: Iterable[str], more: str = "") -> Said:
        return self._start(
            "get", bucket, (f"<Object Name={quoteattr(key)}/>" for key in keys), more
        )

    def _start(self, kind: str, bucket: str, rows: Iterable[str], more: str) -> Said:
        body = f"<Objects>{''.join(rows)}</Objects>".encode()
        query = f"operation=start_bulk_{kind}{more}"
        return self.ask("PUT", f"/_rest_/bucket/{bucket}", query, body)

    def chunks(self, job: str | None, more: str = "") -> Said:
        """Poll the chunks of a job."""
        return self.ask("GET", "/_rest_/job_chunk", f"job={job}{more}")

    def put_blob(
        self, path: str, job: str | None, offset: int, body: bytes, **headers: str
    ) -> Said:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("PUT", path, f"job={job}&offset={offset}", body, named)

    def get_blob(self, path: str, job: str | None, offset: int, **headers: str) -> Said:
        return self.ask("GET", path, f"job={job}&offset={offset}", headers=headers)


def job_of(said: Said) -> str | None:
    assert said.status == 200, said.body
    return said.xml.get("JobId")
