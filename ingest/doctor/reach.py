"""The way to an endpoint, without credentials: its address, name, port, TLS, first answer, clock.

Plain sockets up to TLS, so that each layer has its own verdict. Where the environment names a
proxy, as Python's standard library finds it, name, port and TLS are the proxy's matter.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ingest.doctor import remedies
from ingest.doctor.remedies import failure, failure_of
from ingest.errors import StoreError
from ingest.storage.answers import TRUST, of_tls, translate
from ingest.storage.services import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from urllib.parse import SplitResult

    from urllib3 import PoolManager

    from ingest.storage.connection import Clients

_CONNECT_S, _READ_S = 5.0, 10.0
_HEAD_BYTES = 4096
_SKEW_FAILS_S, _SKEW_WARNS_S = 900, 300
"""S3 takes no signature older or newer than 15 minutes."""
_S3_XML = re.compile(rb"<(Error|ListAllMyBucketsResult|ListBucketResult)[\s>/]")
_SERVERS = {"ceph": "ceph", "amazons3": "aws"}
"""How the ``Server`` of an answer begins, of providers with quirks of their own."""


def reach(clients: Clients, bucket: str | None) -> Iterator[Check]:
    """Yield the checks ``endpoint``, ``name``, ``port``, ``TLS``, ``S3`` and ``clock``.

    Ends after the first that failed, but for the clock, which a store may choose to ignore.
    """
    check, url = _endpoint(clients, bucket)
    yield check
    if url is None:
        return
    where = urlsplit(url)
    for look in (_name, _port, _tls):
        check = look(where)
        yield check
        if check.status == "failed":
            return
    # The bucket's address rather than "/", where a store may well have a page for people.
    answer = _ask(f"{url.rstrip('/')}/{bucket or ''}")
    if isinstance(answer, Check):
        yield answer
        return
    check = _recognised(answer, clients.provider.name)
    yield check
    if check.status != "failed":
        yield _clock(answer)


def _endpoint(clients: Clients, bucket: str | None) -> tuple[Check, str | None]:
    """Return the check and, where it did not fail, the endpoint's URL."""
    try:
        url = clients.client().meta.endpoint_url
        finding = f"{url}, provider {clients.provider.name}, region {clients.region}"
    except Exception as error:  # noqa: BLE001 - translated
        return failure("endpoint", translate("cannot use these settings", error)), None
    host, path = urlsplit(url).hostname or "", urlsplit(url).path.strip("/")
    if bucket and (host.startswith(f"{bucket}.") or path == bucket):
        finding += ": it has the bucket in it, which then goes before each key as well"
        return Check("endpoint", "warning", finding, "leave the bucket out of --endpoint-url"), url
    return Check("endpoint", "ok", finding), url


def _port_of(where: SplitResult) -> int:
    return where.port or (443 if where.scheme == "https" else 80)


def proxy_for(where: SplitResult) -> str | None:
    """Return the proxy that the environment names for an address, if any."""
    proxies = getproxies()
    proxy = proxies.get(where.scheme) or proxies.get("all")
    return proxy if proxy and not proxy_bypass(where.hostname or "") else None


def _left_to_proxy(name: str, where: SplitResult) -> Check | None:
    if (proxy := proxy_for(where)) is None:
        return None
    return Check(name, "skipped", f"requests go through the proxy {urlsplit(proxy).hostname}")


def _name(where: SplitResult) -> Check:
    if left := _left_to_proxy("name", where):
        return left
    host = where.hostname or ""
    try:
        found = socket.getaddrinfo(host, _port_of(where), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return failure_of("name", f"{host} ({reason})", remedies.UNKNOWN_NAME)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    if addresses == [host]:
        return Check("name", "ok", f"{host} is an address, which needs no look-up")
    return Check("name", "ok", f"{host} is {', '.join(addresses[:4])}")


def _port(where: SplitResult) -> Check:
    if left := _left_to_proxy("port", where):
        return left
    host, port = where.hostname or "", _port_of(where)
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except ConnectionRefusedError:
        return failure_of("port", f"{host} refuses port {port}", remedies.NOBODY_THERE)
    except OSError as error:
        reason = error.strerror or error
        return failure_of("port", f"{host} port {port} ({reason})", remedies.NO_ANSWER)
    return Check("port", "ok", f"{host} answers at port {port}")


def _tls(where: SplitResult) -> Check:
    if where.scheme == "http":
        return Check("TLS", "skipped", "plain http: what is transferred can be read on the way")
    if left := _left_to_proxy("TLS", where):
        return left
    host, address = where.hostname or "", (where.hostname or "", _port_of(where))
    try:
        with (
            socket.create_connection(address, _CONNECT_S) as plain,
            _trusted().wrap_socket(plain, server_hostname=host) as secure,
        ):
            return Check("TLS", "ok", f"{secure.version()}, with a certificate that is trusted")
    except ssl.SSLCertVerificationError as error:
        finding = f"the certificate of {host} is not trusted: {error.verify_message}"
        known = of_tls(str(error))
        return Check("TLS", "failed", finding, known[1] if known else TRUST)
    except OSError as error:  # SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or error
        finding = f"{host} does not speak TLS at port {address[1]}: {reason}"
        return Check(
            "TLS", "failed", finding, "begin --endpoint-url with http://, or check the port"
        )


def _trusted() -> ssl.SSLContext:
    import certifi  # noqa: PLC0415 - as the listing does: some Pythons know of no system's

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True, slots=True)
class _Answer:
    """``headers`` by lower-case name; ``asked`` is the time of the request, by this machine."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked: float


def _ask(url: str) -> _Answer | Check:
    """Return the beginning of what an unsigned GET is answered."""
    from urllib3 import exceptions  # noqa: PLC0415 - loads late, as everywhere

    pool = _connections(urlsplit(url))
    asked = time.time()
    try:
        with closing(
            pool.urlopen("GET", url, redirect=False, retries=False, preload_content=False)
        ) as answer:
            asked = (asked + time.time()) / 2
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return _Answer(answer.status, headers, answer.read(_HEAD_BYTES), asked)
    except exceptions.HTTPError as error:
        return failure("S3", StoreError(f"no answer over HTTP: {error}"))
    finally:
        pool.clear()


def _connections(where: SplitResult) -> PoolManager:
    from urllib3 import PoolManager, ProxyManager, Timeout  # noqa: PLC0415 - as above

    timeout = Timeout(connect=_CONNECT_S, read=_READ_S)
    trusted = _trusted() if where.scheme == "https" else None
    if proxy := proxy_for(where):
        return ProxyManager(proxy, timeout=timeout, ssl_context=trusted)
    return PoolManager(timeout=timeout, ssl_context=trusted)


def _recognised(answer: _Answer, provider: str) -> Check:
    """Say whether an S3 API answered, and whether it is one with quirks of its own."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if not _is_s3(answer, kind):
        return _unrecognised(answer, kind)
    server = answer.headers.get("server", "")
    for beginning, better in _SERVERS.items():
        if provider == "other" and server.lower().startswith(beginning):
            return Check("S3", "warning", f"an S3 API, of {server}", f"choose --provider {better}")
    return Check("S3", "ok", "an S3 API answers" + (f", of {server}" if server else ""))


def _is_s3(answer: _Answer, kind: str) -> bool:
    return kind != "text/html" and bool(
        "x-amz-request-id" in answer.headers or _S3_XML.search(answer.body)
    )


def _unrecognised(answer: _Answer, kind: str) -> Check:
    what = f"HTTP {answer.status}" + (f" and {kind}" if kind else "")
    if answer.status == HTTPStatus.BAD_REQUEST and b"HTTPS" in answer.body:
        finding = f"{what}: the port wants TLS"
        return Check("S3", "failed", finding, "begin --endpoint-url with https://")
    to = urlsplit(answer.headers.get("location", ""))
    if answer.status in range(300, 400) and to.hostname:
        finding = f"{what}: it redirects to {to.scheme}://{to.hostname}, which transfers do not"
        return Check("S3", "failed", f"{finding} follow", "give that address as --endpoint-url")
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        finding = f"{what}: something in front answers, but no S3 API behind it"
        return Check("S3", "failed", finding, "check the service's state and log")
    return failure_of("S3", what, remedies.NOT_S3)


def _clock(answer: _Answer) -> Check:
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return Check("clock", "skipped", "the store does not say what time it has")
    ahead = answer.asked - theirs
    finding = f"this machine's clock is {abs(ahead):,.0f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) > _SKEW_FAILS_S:
        return Check("clock", "failed", finding, remedies.CLOCKS.cure)
    if abs(ahead) > _SKEW_WARNS_S:
        return Check("clock", "warning", finding, remedies.CLOCKS.cure)
    return Check("clock", "ok", finding if abs(ahead) >= 2 else "the clocks agree")  # noqa: PLR2004 - a Date has whole seconds
