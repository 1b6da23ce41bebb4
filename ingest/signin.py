"""Signing in to TMDB: a token or a key, hidden from texts; and another one where it is refused."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests
import requests.auth

from ingest.errors import IngestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.errors import CredentialsRefused

logger = logging.getLogger(__name__)

OF_SETTINGS = "check TMDB_ACCESS_TOKEN or TMDB_API_KEY at themoviedb.org/settings/api"


@dataclass(frozen=True, kw_only=True)
class SignIn(requests.auth.AuthBase):
    """Signs requests with a v4 token (header) or else a v3 key (query), and hides it from texts.

    ``hint`` is what to do where TMDB refuses it. Being requests' own ``auth``, it also keeps
    ``~/.netrc`` from replacing the header.
    """

    token: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    hint: str = OF_SETTINGS

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the credential to ``request``."""
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        else:
            request.prepare_url(request.url, {"api_key": self.key or ""})
        return request

    def hide(self, text: str) -> str:
        """Return ``text`` on one line, without the credential, cut to 200 characters."""
        for secret in filter(None, (self.token, self.key)):
            text = text.replace(secret, "***")
        return " ".join(text.split())[:200]


class SignIns:
    """The sign-in that all requests of a run share, over its threads.

    It is read when the first request needs it, and read anew once, if TMDB refuses it. What reading
    it raises, and a refusal that stands, are raised for every request from then on.
    """

    def __init__(
        self, read: Callable[[], SignIn], read_anew: Callable[[], SignIn] | None = None
    ) -> None:
        """Read nothing yet. Without ``read_anew`` the first refusal stands."""
        self._read = read
        self._read_anew = read_anew
        self._found: SignIn | None = None
        self._failure: IngestError | None = None
        self._lock = threading.Lock()

    def current(self) -> SignIn:
        """Return the sign-in for a request; raises ``IngestError`` where there is none."""
        with self._lock:
            if self._failure:
                raise self._failure
            if self._found is None:
                self._found = self._ask(self._read)
            return self._found

    def replace(self, refused: SignIn, refusal: CredentialsRefused) -> None:
        """Return when there is another sign-in than the ``refused`` one; raise where there is none.

        Of requests that are refused at once, the first has it read anew for all.
        """
        with self._lock:
            if self._failure:
                raise self._failure
            if self._found is not refused:
                return
            if self._read_anew:
                read_anew, self._read_anew = self._read_anew, None
                found = self._ask(read_anew)
                if found != refused:
                    self._found = found
                    logger.warning("%s; going on with what was read anew", refusal.message)
                    return
            self._failure = refusal
            raise refusal

    def _ask(self, read: Callable[[], SignIn]) -> SignIn:
        try:
            return read()
        except IngestError as error:
            self._failure = error
            raise
