"""One kept-alive HTTP connection to a store, through the proxy that the environment names.

The standard library's client: it loads in a quarter of the time that urllib3 takes, reads into
buffers that it is given, and lets the next request be sent before its answer is wanted.
"""

from __future__ import annotations

import base64
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection, InvalidURL
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ingest.storage.signing import host_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPResponse
    from typing import Any

CONNECT_S, ANSWER_S = 5.0, 30.0
"""How long to wait for a connection, and then each time for some bytes of an answer."""


class Unreachable(Exception):
    """Nothing, or no whole answer, came from the server; ``str`` says why.

    ``is_final`` where the next try would end the same way: a name that is none, a certificate
    that is not trusted.
    """

    def __init__(self, error: OSError | HTTPException | ValueError) -> None:
        """Say what ``error`` does, in the system's words where it has some."""
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        super().__init__(said or type(error).__name__)
        self.is_final = isinstance(error, ssl.SSLCertVerificationError | InvalidURL | ValueError)


class Wire:
    """A connection to the server of ``url``, for one thread at a time.

    The first request opens it, and so does the next one after it was closed. Methods raise
    ``Unreachable``, and have closed it then.
    """

    def __init__(self, url: str, *, answer_s: float = ANSWER_S) -> None:
        """Open nothing yet. ``answer_s`` is how long to wait for some bytes of an answer.

        Raises ``Unreachable`` where the proxy is of a kind that is not known here.
        """
        server = urlsplit(url)
        self._proxy = _proxy(server)
        self._connection = _connection(server, self._proxy, answer_s)
        self._answer: HTTPResponse | None = None

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any = None,  # noqa: ANN401 - what http.client takes: bytes, a file, an iterable
    ) -> None:
        """Send a request to ``url``, of the same server; the one before is answered by now."""
        target, sent = url, {"Host": host_of(url), **headers}
        if self._proxy and url.startswith("http:"):
            sent |= _authorization(self._proxy)
        else:
            target = urlsplit(url)._replace(scheme="", netloc="").geturl() or "/"
        try:
            self._connection.request(method, target, body, sent)
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise Unreachable(error) from None

    def answer(self) -> HTTPResponse:
        """Return the answer to what was sent; it is to be read to its end before the next one."""
        try:
            self._answer = self._connection.getresponse()
            if not self._answer.headers:  # where the head is cut short, it is taken for a whole one
                raise HTTPException("the answer was cut short")  # noqa: TRY301 - as others of it
        except (OSError, HTTPException) as error:
            self.close()
            raise Unreachable(error) from None
        return self._answer

    def body(self, answer: HTTPResponse, most: int) -> bytes:
        """Return the body of ``answer``, or the first ``most`` bytes of a longer one."""
        try:
            body = answer.read(most)
        except (OSError, HTTPException) as error:
            self.close()
            raise Unreachable(error) from None
        if answer.length and len(body) < most:
            self.close()
            raise Unreachable(HTTPException("the answer was cut short"))
        return body

    def close(self) -> None:
        """Close the connection, and whatever answer is under way."""
        self._connection.close()
        if self._answer:  # that of a server which hangs up keeps the socket for itself
            self._answer.close()


class _Plain(HTTPConnection):
    answer_s: float

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self.answer_s)


class _Secure(HTTPSConnection):
    answer_s: float

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self.answer_s)


def _connection(server: SplitResult, proxy: SplitResult | None, answer_s: float) -> HTTPConnection:
    nearest = proxy or server
    host, port = nearest.hostname or "", nearest.port
    connection: _Plain | _Secure
    if server.scheme == "https":
        connection = _Secure(host, port, timeout=CONNECT_S, context=_trust())
        if proxy:
            connection.set_tunnel(server.hostname or "", server.port or 443, _authorization(proxy))
    else:
        connection = _Plain(host, port, timeout=CONNECT_S)
    connection.answer_s = answer_s
    return connection


def _trust() -> ssl.SSLContext:
    import certifi  # noqa: PLC0415 - only for TLS

    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())  # some Pythons know of no system's
    return trusted


def _proxy(server: SplitResult) -> SplitResult | None:
    """Return the proxy for ``server``, which is spoken to in the clear, as is usual."""
    proxies = getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(server.hostname or ""):
        return None
    found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if found.scheme != "http":
        raise Unreachable(
            ValueError(f"the proxy of the environment is {found.scheme}://, not http://")
        )
    return found


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
