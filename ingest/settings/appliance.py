"""What ``ds3://`` needs: a service that is not S3's."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ingest import values
from ingest.errors import SettingsError
from ingest.settings.environment import AccessKey, environment
from ingest.values import Variable, WrongError, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def _appliance_url(text: str) -> str:
    """Read an address with or without scheme, port and final slash; http without a scheme."""
    address = values.url(text if "://" in text else f"http://{text}")
    if "/" in address.partition("://")[2]:
        raise WrongError("a host, with or without http:// or https://, a port and a final slash")
    return address


def _proxy_url(text: str) -> str:
    address = text if "://" in text else f"http://{text}"
    if not re.fullmatch(r"https?://[\x21-\x7e]+", address):
        raise WrongError("the URL of a proxy, such as http://proxy:3128")
    return address.rstrip("/")


APPLIANCE_VARIABLES: tuple[Variable, ...] = (
    Variable("endpoint", "DS3_ENDPOINT", _appliance_url, "Where the appliance is."),
    Variable("access_id", "DS3_ACCESS_KEY", values.key_part, "Access id of its user.", secret=True),
    Variable(
        "secret_key", "DS3_SECRET_KEY", values.key_part, "Secret key of its user.", secret=True
    ),
    Variable("proxy", "http_proxy", _proxy_url, "What requests to it go through.", secret=True),
    Variable(
        "job_objects",
        "DS3_JOB_OBJECTS",
        values.whole_number(1, 500_000),
        "Most objects in one job, 1 to 500000.",
        "1000",
    ),
    Variable(
        "patience_s",
        "DS3_PATIENCE",
        values.whole_number(1, 604_800),
        "Seconds to wait while its cache is full, or a tape is on its way, 1 to 604800.",
        "21600",
    ),
)
"""What ``ds3://`` needs; the first three are required."""


@dataclass(frozen=True, slots=True)
class ApplianceSettings:
    """The settings of an appliance. Fields are in ``APPLIANCE_VARIABLES``."""

    endpoint: str
    key: AccessKey
    proxy: str | None = field(repr=False)
    job_objects: int
    patience_s: int
    state: Path
    """The directory for what is to be known of its jobs after this process has ended."""


def load_appliance(environ: Mapping[str, str] | None = None) -> ApplianceSettings:
    """Read and check ``APPLIANCE_VARIABLES``; a proxy is not for what ``no_proxy`` names.

    Raises ``SettingsError`` as ``load`` does, and for those of the first three that are missing.
    """
    env = environment(environ)
    found = {variable.field: value_of(env, variable) for variable in APPLIANCE_VARIABLES}
    missing = [each.name for each in APPLIANCE_VARIABLES[:3] if not found[each.field]]
    if missing:
        named = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        raise SettingsError(f"{named} {'is' if len(missing) == 1 else 'are'} not set")
    if _is_direct(found["endpoint"], env.get("no_proxy", "")):
        found["proxy"] = None
    key = AccessKey(found.pop("access_id"), found.pop("secret_key"))
    return ApplianceSettings(key=key, state=_state_directory(env), **found)


def _state_directory(env: Mapping[str, str]) -> Path:
    """Return where a program keeps what it has to know next time, by the XDG specification."""
    home = env.get("XDG_STATE_HOME", "")
    # It says that a relative path is none.
    state = home if home.startswith("/") else os.path.expanduser("~/.local/state")  # noqa: PTH111 - never raises
    return Path(state, "ingest", "jobs")


def _is_direct(url: str, no_proxy: str) -> bool:
    """Whether ``no_proxy``, hosts and ends of host names, is for the host of ``url``."""
    host = urlsplit(url).hostname or ""
    ends = (each.strip().lower().lstrip(".") for each in no_proxy.split(","))
    return any(end == "*" or f".{host}".endswith(f".{end}") for end in ends if end)
