"""From what a caller says, and the environment for the rest, to a connection."""

from __future__ import annotations

from ingest.errors import UsageError
from ingest.settings import AccessKey, load_store
from ingest.storage import providers
from ingest.storage.connection import Connection


def connection(  # noqa: PLR0913 - what a connection has
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    region: str | None = None,
    provider: str | None = None,
    profile: str | None = None,
) -> Connection:
    """Return the connection to what is named; what is not named is as the environment says.

    A profile that is named wins over keys of the environment. Raises ``UsageError`` and, for a
    wrong variable, ``SettingsError``.
    """
    if bool(access_key) != bool(secret_key):
        raise UsageError("access_key and secret_key should be given both or not at all")
    if endpoint_url and not endpoint_url.startswith(("http://", "https://")):
        raise UsageError(f"the endpoint {endpoint_url} should begin with http:// or https://")
    providers.choose(provider, None)
    found = load_store()
    key = None if profile else found.access_key
    if access_key and secret_key:
        key = AccessKey(access_key, secret_key, session_token)
    endpoint_url = (endpoint_url or found.endpoint_url or "").rstrip("/") or None
    return Connection(endpoint_url, region or found.region, key, provider, profile)
