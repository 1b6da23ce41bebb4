"""Every setting: its variable, older names, default, check and meaning.

Only this module reads the environment. ``load`` checks every setting at once, before any request,
and raises ``SettingsError`` that names the variable, what it holds and what it should. A secret
is never shown: its error says what is wrong with it instead. An empty variable counts as unset.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ingest import values
from ingest.errors import SettingsError
from ingest.values import Variable, WrongError, checked, read, shown, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RECORDS = 100
"""The most records of one dataset in a run; also the most in one file of the raw zone."""

DEFAULT_LAKE = Path("lake")
"""The local directory that is the lake where no bucket is named."""


def calendar_day(text: str) -> date | None:
    """Return the day that ``YYYY-MM-DD`` names, or None where it names none.

    ``date.fromisoformat`` alone would also take ``20231231`` and ``2023-W52-7``.
    """
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _date(text: str) -> date:
    day = calendar_day(text)
    if day is None:
        raise WrongError("a calendar date as YYYY-MM-DD")
    return day


_BUCKET = values.matching(
    r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]",
    "a bucket's name alone: 3 or more letters, digits, dots, hyphens or underscores",
)
_REGION = values.matching(r"[A-Za-z0-9-]+", "a region such as us-east-1")
_GENRES = values.matching(
    r"[0-9]+(,[0-9]+)*|[0-9]+(\|[0-9]+)*",
    "TMDB genre ids joined by , (all of them) or by | (any of them)",
)


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "tmdb_access_token",
        "TMDB_ACCESS_TOKEN",
        values.token,
        "TMDB v4 access token, sent in the Authorization header. Wins over TMDB_API_KEY.",
        secret=True,
    ),
    Variable(
        "tmdb_api_key",
        "TMDB_API_KEY",
        values.api_key,
        "TMDB v3 key of 32 hexadecimal digits, sent in the query.",
        aliases=("API_KEY",),
        secret=True,
    ),
    Variable(
        "tmdb_secret_arn",
        "TMDB_SECRET_ARN",
        values.kept_in("secretsmanager", "a secret of AWS Secrets Manager"),
        "Secret of AWS Secrets Manager that holds the token or key; read when first needed.",
    ),
    Variable(
        "tmdb_parameter_name",
        "TMDB_PARAMETER_NAME",
        values.kept_in("ssm", "a parameter of AWS Systems Manager"),
        "The same as a SecureString of AWS Systems Manager's Parameter Store.",
    ),
    Variable(
        "tmdb_base_url",
        "TMDB_BASE_URL",
        values.tmdb_url,
        "Where the API is; ends in /3.",
        "https://api.themoviedb.org/3",
    ),
    Variable(
        "language",
        "TMDB_LANGUAGE",
        values.matching(r"[a-z]{2}(-[A-Z]{2})?", "a language such as pt-BR or en"),
        "Language of titles and overviews.",
        "pt-BR",
    ),
    Variable(
        "genres",
        "TMDB_GENRES",
        _GENRES,
        "Genre ids, joined by , (all of them) or | (any of them). 16 Animation, 35 Comedy.",
        "16,35",
    ),
    Variable(
        "released_until",
        "TMDB_RELEASED_UNTIL",
        _date,
        "Last day of release or first airing.",
        "2023-12-31",
    ),
    Variable(
        "include_adult",
        "TMDB_INCLUDE_ADULT",
        values.boolean,
        "Also titles marked as adult.",
        "false",
    ),
    Variable(
        "max_records",
        "TMDB_MAX_RECORDS",
        values.whole_number(1, MAX_RECORDS),
        "Most records of a dataset, 1 to 100.",
        "100",
    ),
    Variable(
        "details",
        "TMDB_DETAILS",
        values.boolean,
        "Also land each title's details, with the number of seasons of a series.",
        "false",
    ),
    Variable(
        "rate",
        "TMDB_RATE",
        values.whole_number(1, 50),
        "Most requests to TMDB in any second, 1 to 50.",
        "20",
    ),
    Variable(
        "torn_after_s",
        "TMDB_TORN_AFTER",
        values.whole_number(1, 86_400),
        "Seconds between the making of two pages above which a run is torn, 1 to 86400.",
        "600",
    ),
    Variable(
        "bucket",
        "BUCKET_NAME",
        _BUCKET,
        "Bucket of the lake. Without it the lake is a local directory; required in Lambda.",
    ),
    Variable(
        "raw_zone_path",
        "RAW_ZONE_PATH",
        values.prefix,
        "Prefix of the raw zone in the lake.",
        "raw/TMDB/JSON",
    ),
    Variable(
        "endpoint_url",
        "ENDPOINT_URL",
        values.url,
        "Endpoint of an S3-compatible store; AWS without it.",
        aliases=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    ),
    Variable(
        "region",
        "REGION_NAME",
        _REGION,
        "Region of the bucket.",
        aliases=("AWS_REGION", "AWS_DEFAULT_REGION"),
    ),
    Variable(
        "local_dir",
        "LOCAL_DIR",
        values.directory,
        "With a bucket, a directory that gets a copy of what lands; without, the lake (./lake).",
    ),
    Variable(
        "output_format",
        "OUTPUT_FORMAT",
        values.one_of("json", "jsonl"),
        "json (an indented array) or jsonl (one record a line).",
        "json",
    ),
    Variable(
        "compression", "OUTPUT_COMPRESSION", values.one_of("none", "gzip"), "none or gzip.", "none"
    ),
    Variable(
        "time_zone",
        "PARTITION_TIMEZONE",
        values.time_zone,
        "Time zone in which the planned time becomes the partition's date.",
        "UTC",
    ),
    Variable(
        "allow_empty",
        "ALLOW_EMPTY",
        values.boolean,
        "Land a dataset even if it has no record.",
        "false",
    ),
    Variable(
        "log_level",
        "LOG_LEVEL",
        values.one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", fold=str.upper),
        "DEBUG, INFO, WARNING, ERROR or CRITICAL.",
        "INFO",
    ),
    Variable("tracing", "TRACING", values.boolean, "In Lambda, trace runs with X-Ray.", "false"),
    Variable(
        "secretsmanager_url",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        values.url,
        "Endpoint of Secrets Manager; AWS without it, wherever the lake is.",
    ),
    Variable(
        "ssm_url",
        "AWS_ENDPOINT_URL_SSM",
        values.url,
        "Endpoint of Systems Manager; AWS without it, wherever the lake is.",
    ),
)

_AWS_REGION = Variable(
    "region",
    "AWS_REGION",
    _REGION,
    "Region of what AWS keeps; REGION_NAME may be one of another store.",
    aliases=("AWS_DEFAULT_REGION",),
)

_STORE_FIELDS = frozenset({"endpoint_url", "region"})

DIRECTORY_VARIABLES: tuple[Variable, ...] = (
    Variable("source_bucket", "SOURCE_BUCKET", _BUCKET, "Bucket to download from."),
    Variable(
        "source_dir",
        "SOURCE_DIR",
        values.prefix,
        "Directory of that bucket, which lands in downloads/ under its own name.",
    ),
    Variable("target_bucket", "TARGET_BUCKET", _BUCKET, "Bucket to upload to."),
    Variable("target_dir", "TARGET_DIR", values.prefix, "Directory of that bucket to upload into."),
    Variable(
        "source_local_dir",
        "SOURCE_LOCAL_DIR",
        values.prefix,
        "Directory to upload, inside of downloads/.",
    ),
)
"""What ``ingest upload`` and ``ingest download`` take where they are given no arguments."""

_AWS_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_OLDER_NAMES = ("AWS_ACCESS_KEY", "AWS_SECRET_KEY", "SESSION_TOKEN")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key pair of AWS or a store, with the token of a temporary one. Never shown by ``repr``."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """Where AWS keeps the credential of TMDB, and who asks for it.

    ``name`` is the ARN or the name, in ``service``, that ``variable`` holds. Without
    ``endpoint_url`` the service is AWS's own; without ``access_key``, AWS's chain finds the
    credentials.
    """

    variable: Literal["TMDB_SECRET_ARN", "TMDB_PARAMETER_NAME"]
    service: Literal["secretsmanager", "ssm"]
    name: str
    endpoint_url: str | None
    region: str | None
    access_key: AccessKey | None = field(repr=False)

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"the {'parameter' if self.service == 'ssm' else 'secret'} {self.name}"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked. Fields are described in ``VARIABLES``."""

    tmdb_access_token: str | None = field(repr=False)
    tmdb_api_key: str | None = field(repr=False)
    tmdb_secret_arn: str | None
    tmdb_parameter_name: str | None
    tmdb_base_url: str
    language: str
    genres: str
    released_until: date
    include_adult: bool
    max_records: int
    details: bool
    rate: int
    torn_after_s: int
    bucket: str | None
    raw_zone_path: str
    endpoint_url: str | None
    region: str | None
    local_dir: Path | None
    output_format: str
    compression: str
    time_zone: str
    allow_empty: bool
    log_level: str
    tracing: bool
    secretsmanager_url: str | None
    ssm_url: str | None
    access_key: AccessKey | None
    kept_secret: KeptSecret | None
    in_lambda: bool

    @property
    def has_tmdb_credentials(self) -> bool:
        """Whether a token or a key of TMDB is set, or where AWS keeps one."""
        return bool(self.tmdb_access_token or self.tmdb_api_key or self.kept_secret)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The settings of an S3 API alone."""

    endpoint_url: str | None
    region: str | None
    access_key: AccessKey | None


@dataclass(frozen=True, slots=True)
class Directories:
    """What is moved where, as the environment says. Fields are in ``DIRECTORY_VARIABLES``."""

    source_bucket: str | None
    source_dir: str | None
    target_bucket: str | None
    target_dir: str | None
    source_local_dir: str | None


def load_store(
    environ: Mapping[str, str] | None = None, *, instead: Mapping[str, str] | None = None
) -> StoreSettings:
    """Read and check what concerns the store alone: no other setting matters to a transfer.

    ``instead`` has values that win over those of ``environ``. Raises ``SettingsError`` as ``load``
    does.
    """
    env = {**(os.environ if environ is None else environ), **(instead or {})}
    found = {
        variable.field: value_of(env, variable)
        for variable in VARIABLES
        if variable.field in _STORE_FIELDS
    }
    return StoreSettings(**found, access_key=_access_key(env))


def load_directories(environ: Mapping[str, str] | None = None) -> Directories:
    """Read and check ``DIRECTORY_VARIABLES``. Raises ``SettingsError`` as ``load`` does."""
    env = os.environ if environ is None else environ
    return Directories(
        **{variable.field: value_of(env, variable) for variable in DIRECTORY_VARIABLES}
    )


def in_lambda(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process is a function of AWS Lambda."""
    env = os.environ if environ is None else environ
    return bool(env.get("AWS_LAMBDA_FUNCTION_NAME"))


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting of ``environ`` (the process's own by default).

    Raises ``SettingsError`` for the first variable that is wrong. In Lambda
    (``AWS_LAMBDA_FUNCTION_NAME`` is set) a bucket and TMDB credentials are required.
    """
    env = os.environ if environ is None else environ
    found = {variable.field: value_of(env, variable) for variable in VARIABLES}
    settings = Settings(
        **found,
        access_key=_access_key(env),
        kept_secret=_kept_secret(env, found),
        in_lambda=in_lambda(env),
    )
    if settings.in_lambda and not settings.bucket:
        raise SettingsError(
            "BUCKET_NAME is not set; in Lambda it should be the bucket of the data lake"
        )
    if settings.in_lambda and not settings.has_tmdb_credentials:
        raise SettingsError(
            "TMDB_ACCESS_TOKEN is not set; in Lambda it should be a v4 access token of TMDB "
            "(or TMDB_API_KEY a v3 key, or TMDB_SECRET_ARN or TMDB_PARAMETER_NAME where AWS "
            "keeps one)"
        )
    return settings


def tmdb_credentials(texts: Mapping[str, str]) -> dict[str, str]:
    """Check credentials of TMDB that are named as their variables; return them by their fields.

    Raises ``SettingsError`` as ``load`` does. Other names are nobody's, and stay where they are.
    """
    return {
        variable.field: checked(name, texts[name].strip(), variable)
        for variable in VARIABLES
        if variable.secret
        for name in reversed((variable.name, *variable.aliases))
        if texts.get(name, "").strip()
    }


def _kept_secret(env: Mapping[str, str], found: Mapping[str, Any]) -> KeptSecret | None:
    """Return where AWS keeps the credential of TMDB, or None where no setting says so.

    The endpoint and the region of the store are not taken: the lake may be anywhere else.
    """
    secret, parameter = found["tmdb_secret_arn"], found["tmdb_parameter_name"]
    if secret and parameter:
        raise SettingsError(
            "TMDB_SECRET_ARN and TMDB_PARAMETER_NAME are both set; only one of them should be"
        )
    name = secret or parameter
    if not name:
        return None
    of_arn = name.split(":")[3] if name.startswith("arn:") else None
    of_lake = None if found["endpoint_url"] else found["region"]
    return KeptSecret(
        variable="TMDB_SECRET_ARN" if secret else "TMDB_PARAMETER_NAME",
        service="secretsmanager" if secret else "ssm",
        name=name,
        endpoint_url=found["secretsmanager_url" if secret else "ssm_url"],
        region=of_arn or value_of(env, _AWS_REGION) or of_lake,
        access_key=_key_pair(env, _AWS_NAMES),
    )


def _access_key(env: Mapping[str, str]) -> AccessKey | None:
    """Return the key pair of the environment, or None: the rest of the AWS chain decides.

    The standard names win, except in Lambda: there they always hold the function's role and
    cannot be set, so that a key given under the older names is the one that is meant.
    """
    families = [_AWS_NAMES, _OLDER_NAMES]
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


# A service that is not S3's


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


_PRINTABLE = values.matching(r"[\x21-\x7e]+", "printable ASCII without spaces")

APPLIANCE_VARIABLES: tuple[Variable, ...] = (
    Variable("endpoint", "DS3_ENDPOINT", _appliance_url, "Where the appliance is."),
    Variable("access_id", "DS3_ACCESS_KEY", _PRINTABLE, "Access id of its user.", secret=True),
    Variable("secret_key", "DS3_SECRET_KEY", _PRINTABLE, "Secret key of its user.", secret=True),
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


def load_appliance(environ: Mapping[str, str] | None = None) -> ApplianceSettings:
    """Read and check ``APPLIANCE_VARIABLES``; a proxy is not for what ``no_proxy`` names.

    Raises ``SettingsError`` as ``load`` does, and for those of the first three that are missing.
    """
    env = os.environ if environ is None else environ
    found = {variable.field: value_of(env, variable) for variable in APPLIANCE_VARIABLES}
    missing = [each.name for each in APPLIANCE_VARIABLES[:3] if not found[each.field]]
    if missing:
        named = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        raise SettingsError(f"{named} {'is' if len(missing) == 1 else 'are'} not set")
    if _is_direct(found["endpoint"], env.get("no_proxy", "")):
        found["proxy"] = None
    key = AccessKey(found.pop("access_id"), found.pop("secret_key"))
    return ApplianceSettings(key=key, **found)


def _is_direct(url: str, no_proxy: str) -> bool:
    """Whether ``no_proxy``, hosts and ends of host names, is for the host of ``url``."""
    host = urlsplit(url).hostname or ""
    ends = (each.strip().lower().lstrip(".") for each in no_proxy.split(","))
    return any(end == "*" or f".{host}".endswith(f".{end}") for end in ends if end)
