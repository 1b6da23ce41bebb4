"""What work past one machine is started with, and the store it may go to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest import values
from ingest.errors import SettingsError
from ingest.settings import VARIABLES
from ingest.settings.environment import AccessKey, KeptSecret, environment, kept_secret
from ingest.values import Variable, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRETS_MANAGER = next(each for each in VARIABLES if each.field == "secretsmanager_url")

STATE_MACHINE_VARIABLES: tuple[Variable, ...] = (
    Variable(
        "backfill",
        "BACKFILL_STATE_MACHINE_ARN",
        values.state_machine,
        "State machine that `ingest backfill --remote` starts.",
    ),
    Variable(
        "transfer",
        "TRANSFER_STATE_MACHINE_ARN",
        values.state_machine,
        "State machine that `ingest transfer --remote` starts.",
    ),
    Variable(
        "endpoint_url",
        "AWS_ENDPOINT_URL_SFN",
        values.url,
        "Endpoint of Step Functions; AWS without it, wherever the lake is.",
    ),
)
"""What work past one machine is started with."""

TARGET_VARIABLES: tuple[Variable, ...] = (
    Variable(
        "endpoint_url",
        "TARGET_ENDPOINT_URL",
        values.url,
        "Endpoint of another store, which `ingest transfer` copies to.",
    ),
    Variable("region", "TARGET_REGION_NAME", values.region, "Its region."),
    Variable(
        "access_key_id",
        "TARGET_ACCESS_KEY_ID",
        values.key_part,
        "Id of the key for it.",
        secret=True,
    ),
    Variable(
        "secret_access_key",
        "TARGET_SECRET_ACCESS_KEY",
        values.key_part,
        "The key itself.",
        secret=True,
    ),
    Variable(
        "secret_arn",
        "TARGET_SECRET_ARN",
        values.kept_in("secretsmanager", "a secret of AWS Secrets Manager"),
        "Secret of AWS Secrets Manager that holds both, as JSON under the names of the last two.",
    ),
)
"""The store that a transfer goes to, where it is another one than it comes from."""


@dataclass(frozen=True, slots=True)
class StateMachines:
    """What work past one machine is started with. Fields are in ``STATE_MACHINE_VARIABLES``."""

    backfill: str | None
    transfer: str | None
    endpoint_url: str | None


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """Another store to transfer to: with a key, or with the name of the secret that has it."""

    endpoint_url: str | None
    region: str | None
    access_key: AccessKey | None
    kept_secret: KeptSecret | None


def load_state_machines(environ: Mapping[str, str] | None = None) -> StateMachines:
    """Read and check ``STATE_MACHINE_VARIABLES``. Raises ``SettingsError`` as ``load`` does."""
    env = environment(environ)
    return StateMachines(
        **{variable.field: value_of(env, variable) for variable in STATE_MACHINE_VARIABLES}
    )


def load_target(environ: Mapping[str, str] | None = None) -> TargetSettings | None:
    """Read and check ``TARGET_VARIABLES``; None where none is set.

    Raises ``SettingsError`` as ``load`` does, and where no key or half of one is there.
    """
    env = environment(environ)
    found = {variable.field: value_of(env, variable) for variable in TARGET_VARIABLES}
    if not any(found.values()):
        return None
    secret = found["secret_arn"]
    key = target_key(found)
    if bool(secret) == bool(key):
        raise SettingsError(
            "one of TARGET_SECRET_ARN and TARGET_ACCESS_KEY_ID (with TARGET_SECRET_ACCESS_KEY) "
            "should be set, where any TARGET_ variable is"
        )
    kept = None
    if secret:
        url = value_of(env, _SECRETS_MANAGER)
        kept = kept_secret(env, "TARGET_SECRET_ARN", "secretsmanager", secret, endpoint_url=url)
    return TargetSettings(found["endpoint_url"], found["region"], key, kept)


def target_key(found: Mapping[str, Any]) -> AccessKey | None:
    """Return the key pair in ``found``, which has it by its fields. Raises ``SettingsError``."""
    key_id, secret_key = found.get("access_key_id"), found.get("secret_access_key")
    if bool(key_id) != bool(secret_key):
        raise SettingsError(
            "TARGET_ACCESS_KEY_ID and TARGET_SECRET_ACCESS_KEY should both be set, or neither"
        )
    return AccessKey(key_id, secret_key) if key_id and secret_key else None
