"""The store that a transfer goes to, where it is another one than it comes from."""

from __future__ import annotations

import json

from ingest import aws_secret
from ingest.errors import SettingsError
from ingest.settings import AccessKey, KeptSecret
from ingest.settings.remote import load_target
from ingest.storage.connection import Connection

_FIT = 'store JSON such as {"TARGET_ACCESS_KEY_ID": "...", "TARGET_SECRET_ACCESS_KEY": "..."}'


def target_connection() -> Connection | None:
    """Return how to reach it, or None where the environment names none.

    Raises ``SettingsError``, and what reading a secret of AWS raises.
    """
    found = load_target()
    if found is None:
        return None
    key = found.access_key or (_kept_key(found.kept_secret) if found.kept_secret else None)
    return Connection(found.endpoint_url, found.region, key)


def _kept_key(kept: KeptSecret) -> AccessKey:
    try:
        held = json.loads(aws_secret.text(kept))
    except (ValueError, RecursionError):
        held = None
    found = held if isinstance(held, dict) else {}
    key_id, secret = found.get("TARGET_ACCESS_KEY_ID"), found.get("TARGET_SECRET_ACCESS_KEY")
    if not isinstance(key_id, str) or not isinstance(secret, str) or not key_id or not secret:
        raise SettingsError(f"{kept} has no key of a store", hint=_FIT)
    return AccessKey(key_id, secret)
