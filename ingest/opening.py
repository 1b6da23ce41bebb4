"""TMDB and the lake, opened as the settings say."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from ingest import aws_secret
from ingest.errors import SettingsError
from ingest.settings import DEFAULT_LAKE
from ingest.signin import SignIn, SignIns
from ingest.storage.connection import Clients, Connection
from ingest.storage.local import LocalStore
from ingest.storage.s3 import S3Store
from ingest.tmdb import Tmdb

if TYPE_CHECKING:
    from ingest.pacing import Deadline
    from ingest.settings import Settings
    from ingest.storage.base import Lake

logger = logging.getLogger(__name__)

_PATIENCE_S = 10
"""Seconds that one small object may take: in Lambda nobody waits longer."""


def open_tmdb(settings: Settings, deadline: Deadline, rate: float | None = None) -> Tmdb:
    """Return a client of TMDB, with ``rate`` requests a second or as many as the settings say.

    Raises ``SettingsError`` where there are no credentials.
    """
    sign_ins = _sign_ins(settings)
    return Tmdb(settings.tmdb_base_url, sign_ins, rate=rate or settings.rate, deadline=deadline)


def _sign_ins(settings: Settings) -> SignIns:
    """Return how to sign in to TMDB: as the environment says, else by what AWS keeps."""
    kept, token, key = settings.kept_secret, settings.tmdb_access_token, settings.tmdb_api_key
    if token or key:
        if kept:
            logger.warning("TMDB_ACCESS_TOKEN or TMDB_API_KEY is set: %s is not read", kept)
        return SignIns(lambda: SignIn(token=token, key=key))
    if kept:
        read = partial(aws_secret.read, kept)
        return SignIns(read, partial(read, anew=True))
    raise SettingsError(
        "TMDB_ACCESS_TOKEN is not set; it should be a v4 access token of TMDB "
        "(or TMDB_API_KEY a v3 key)"
    )


def open_stores(settings: Settings) -> list[Lake]:
    """Return where to land, the lake last: a copy that fails then keeps the lake uncommitted.

    The other way round, a run tried again would find the lake's manifest and skip the copy.
    """
    if not settings.bucket:
        return [LocalStore(settings.local_dir or DEFAULT_LAKE)]
    connection = Connection(
        settings.endpoint_url, settings.region, settings.access_key, patience_s=_PATIENCE_S
    )
    bucket = S3Store(settings.bucket, Clients(connection))
    return [LocalStore(settings.local_dir), bucket] if settings.local_dir else [bucket]
