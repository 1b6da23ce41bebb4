"""What all settings take from the environment: keys, where AWS keeps others, and where this runs.

Only this module reads the environment of the process; the other ones are given what it is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ingest import values
from ingest.errors import SettingsError
from ingest.values import Variable, read, shown, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

AWS_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
OLDER_NAMES = ("AWS_ACCESS_KEY", "AWS_SECRET_KEY", "SESSION_TOKEN")

_AWS_REGION = Variable(
    "region",
    "AWS_REGION",
    values.region,
    "Region of what AWS keeps; REGION_NAME may be one of another store.",
    aliases=("AWS_DEFAULT_REGION",),
)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key pair of AWS or a store, with the token of a temporary one. Never shown by ``repr``."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """Where AWS keeps a credential, of TMDB or of a store, and who asks for it.

    ``name`` is the ARN or the name, in ``service``, that ``variable`` holds. Without
    ``endpoint_url`` the service is AWS's own; without ``access_key``, AWS's chain finds the
    credentials.
    """

    variable: Literal["TMDB_SECRET_ARN", "TMDB_PARAMETER_NAME", "TARGET_SECRET_ARN"]
    service: Literal["secretsmanager", "ssm"]
    name: str
    endpoint_url: str | None
    region: str | None
    access_key: AccessKey | None = field(repr=False)

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"the {'parameter' if self.service == 'ssm' else 'secret'} {self.name}"


def environment(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return ``environ``, or what it is of the process."""
    return os.environ if environ is None else environ


def in_lambda(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process is a function of AWS Lambda."""
    return bool(environment(environ).get("AWS_LAMBDA_FUNCTION_NAME"))


def kept_secret(  # noqa: PLR0913 - what there is to know of one
    env: Mapping[str, str],
    variable: Literal["TMDB_SECRET_ARN", "TMDB_PARAMETER_NAME", "TARGET_SECRET_ARN"],
    service: Literal["secretsmanager", "ssm"],
    name: str,
    *,
    endpoint_url: str | None,
    region: str | None = None,
) -> KeptSecret:
    """Return where AWS keeps what ``variable`` names; ``region`` where nothing else says one.

    Neither endpoint, region nor key of the store are taken: that may be anywhere else.
    """
    return KeptSecret(
        variable=variable,
        service=service,
        name=name,
        endpoint_url=endpoint_url,
        region=_region_of(name) or value_of(env, _AWS_REGION) or region,
        access_key=_key_pair(env, AWS_NAMES),
    )


def _region_of(name: str) -> str | None:
    """Return the region of what is named by its ARN."""
    return name.split(":")[3] if name.startswith("arn:") else None


def access_key(env: Mapping[str, str]) -> AccessKey | None:
    """Return the key pair of the environment, or None: the rest of the AWS chain decides.

    The standard names win, except in Lambda: there they always hold the function's role and
    cannot be set, so that a key given under the older names is the one that is meant.
    """
    families = [AWS_NAMES, OLDER_NAMES]
    for names in reversed(families) if in_lambda(env) else families:
        if pair := _key_pair(env, names):
            return pair
    return None


def _key_pair(env: Mapping[str, str], names: tuple[str, str, str]) -> AccessKey | None:
    parts = [_key_part(name, read(env, name, secret=True)) for name in names]
    if parts[0] and parts[1]:
        return AccessKey(parts[0], parts[1], parts[2] or None)
    if parts[0] or parts[1]:
        present, absent = names[:2] if parts[0] else names[1::-1]
        raise SettingsError(f"{absent} is not set, but {present} is; both should be or neither")
    return None


def _key_part(name: str, text: str) -> str:
    if text and not re.fullmatch(r"[\x21-\x7e]+", text):
        held = shown(text, secret=True)
        raise SettingsError(f"{name} holds {held}; it should be printable ASCII without spaces")
    return text
