"""From what a caller says, and the environment for the rest, to a connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ingest.errors import SettingsError, UsageError
from ingest.settings import AccessKey
from ingest.settings.stores import load_store
from ingest.storage import providers
from ingest.storage.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

_ARGUMENTS = {"ENDPOINT_URL": "endpoint_url", "REGION_NAME": "region"}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


def connection(  # noqa: PLR0913 - what a connection has
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    region: str | None = None,
    provider: str | None = None,
    profile: str | None = None,
    path_style: bool | None = None,
    spelled: Callable[[str], str] = str,
) -> Connection:
    """Return the connection to what is named; what is not named is as the environment says.

    A profile that is named wins over keys of the environment. Raises ``UsageError``, in which an
    argument is called what ``spelled`` makes of its name, and for a wrong variable
    ``SettingsError``.
    """
    if bool(access_key) != bool(secret_key):
        raise UsageError("access_key and secret_key should be given both or not at all")
    providers.choose(provider, None)
    arguments = {"ENDPOINT_URL": endpoint_url, "REGION_NAME": region}
    given = {variable: value for variable, value in arguments.items() if value}
    try:
        found = load_store(instead=given)
    except SettingsError as error:
        for variable in given:
            if error.message.startswith(f"{variable} "):
                called = spelled(_ARGUMENTS[variable])
                raise UsageError(error.message.replace(variable, called, 1)) from None
        raise
    key = None if profile else found.access_key
    if access_key and secret_key:
        key = AccessKey(access_key, secret_key, session_token)
    return Connection(found.endpoint_url, found.region, key, provider, profile, path_style)


def bucket_name(text: str) -> str:
    """Return ``text``. Raises ``UsageError`` where no bucket can be called so."""
    if not _BUCKET.fullmatch(text):
        raise UsageError(
            f"{text!r} should be a bucket's name: 3 or more letters, digits, dots, hyphens or "
            f"underscores"
        )
    return text
