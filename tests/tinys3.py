"""A bucket on loopback that behaves well, to be wrapped by tests that want it to behave badly."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_ROW = (
    "<Contents><Key>{}</Key><LastModified>2026-01-02T03:04:05Z</LastModified>"
    "<Size>{}</Size></Contents>"
)


@dataclass(frozen=True)
class Asked:
    """A request; ``path`` is decoded, ``body`` without the framing of HTTP itself."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def host(self) -> str:
        return self.headers["host"].partition(":")[0]

    @property
    def signed(self) -> bool:
        return "authorization" in self.headers


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes | str = b""
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, code: str, message: str = "no", more: str = "") -> Answer:
    """Return an error as S3 has it; ``more`` is XML that goes into it."""
    xml = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    return Answer(status, xml, {"Content-Type": "application/xml"})


@dataclass
class TinyS3:
    """One bucket, unsigned, in memory."""

    bucket: str = "data"
    objects: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Answer:
        bucket, _, key = asked.path.removeprefix("/").partition("/")
        return self.answer(asked, bucket, key)

    def answer(self, asked: Asked, bucket: str, key: str) -> Answer:
        """Answer a request whose bucket and key were found out."""
        if key and bucket == self.bucket:
            return self._object(asked, key)
        if not bucket:
            owned = f"<Buckets><Bucket><Name>{self.bucket}</Name></Bucket></Buckets>"
            return Answer(body=f"<ListAllMyBucketsResult>{owned}</ListAllMyBucketsResult>")
        if bucket != self.bucket:
            return refusal(404, "NoSuchBucket", "The specified bucket does not exist")
        if "versions" in asked.query or "uploads" in asked.query:
            return refusal(501, "NotImplemented")
        return self._list(asked.query.get("prefix", ""))

    def _object(self, asked: Asked, key: str) -> Answer:
        if asked.method == "PUT":
            self.objects[key] = asked.body
            return Answer(headers={"ETag": '"0"'})
        if asked.method == "DELETE":
            self.objects.pop(key, None)
            return Answer(204)
        if key not in self.objects:
            return refusal(404, "NoSuchKey")
        about = {"ETag": '"0"', "Last-Modified": formatdate(0, usegmt=True)}
        return Answer(body=self.objects[key], headers=about)

    def _list(self, prefix: str) -> Answer:
        rows = [
            _ROW.format(quote(key), len(content))
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix)
        ]
        end = "<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>"
        return Answer(body=f"<ListBucketResult>{''.join(rows)}{end}</ListBucketResult>")


@contextmanager
def serve(
    answer: Callable[[Asked], Answer], certificate: Certificate | None = None
) -> Iterator[str]:
    """Serve on loopback, over TLS where there is a certificate with its key; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            query = {
                name: each[0]
                for name, each in parse_qs(parts.query, keep_blank_values=True).items()
            }
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self._body(headers)
            told = answer(Asked(self.command, unquote(parts.path), query, headers, body))
            content = told.body.encode() if isinstance(told.body, str) else told.body
            self.send_response_only(told.status)
            for name, value in {"Date": formatdate(usegmt=True), **told.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(0 if told.status == 204 else len(content)))
            self.end_headers()
            if self.command != "HEAD" and told.status != 204:
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815 - their names

        def _body(self, headers: dict[str, str]) -> bytes:
            if headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(headers.get("content-length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # handshakes that are meant to fail

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate.chain)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Certificate:
    """Files: of an authority nobody has heard of, and of a server that it answers for."""

    authority: Path
    chain: tuple[Path, Path]


def certify(directory: Path, *, days: int = 1, name: str = "127.0.0.1") -> Certificate:
    """Make a certificate for the address ``name``; with ``days`` < 0 it has expired."""
    end = datetime.now(UTC) + timedelta(days=days)

    def signed(subject: str, extension: x509.ExtensionType, key: Any, by: Any) -> bytes:
        issuer, whose = [
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)])
            for each in ("authority", subject)
        ]
        certificate = x509.CertificateBuilder(
            issuer, whose, key.public_key(), x509.random_serial_number()
        )
        certificate = certificate.not_valid_before(end - timedelta(days=2)).not_valid_after(end)
        certificate = certificate.add_extension(extension, critical=False)
        return certificate.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    files = [directory / f"{each}.pem" for each in ("authority", "server", "key")]
    ours = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    files[0].write_bytes(signed("authority", constraints, root, root))
    files[1].write_bytes(signed("server", ours, key, root))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[2].write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return Certificate(files[0], (files[1], files[2]))
