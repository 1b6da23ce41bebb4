"""Every setting: its variable, older names, default, check and meaning.

Here are those of the daily run, and in the other modules what it does without. ``load`` checks
every setting at once, before any request, and raises ``SettingsError`` that names the variable,
what it holds and what it should. A secret is never shown: its error says what is wrong with it
instead. An empty variable counts as unset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import values
from ingest.errors import SettingsError
from ingest.settings.environment import (
    AccessKey,
    KeptSecret,
    access_key,
    environment,
    in_lambda,
    kept_secret,
)
from ingest.values import Variable, WrongError, checked, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEFAULT_LAKE",
    "GENRES",
    "MAX_RECORDS",
    "VARIABLES",
    "AccessKey",
    "KeptSecret",
    "Settings",
    "Variable",
    "calendar_day",
    "in_lambda",
    "load",
    "tmdb_credentials",
]

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


GENRES = r"[0-9]+(,[0-9]+)*|[0-9]+(\|[0-9]+)*"
"""The pattern of genre ids, as TMDB takes them."""

_GENRES = values.matching(
    GENRES,
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
        values.bucket,
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
        values.region,
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


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting of ``environ`` (the process's own by default).

    Raises ``SettingsError`` for the first variable that is wrong. In Lambda
    (``AWS_LAMBDA_FUNCTION_NAME`` is set) a bucket and TMDB credentials are required.
    """
    env = environment(environ)
    found = {variable.field: value_of(env, variable) for variable in VARIABLES}
    settings = Settings(
        **found,
        access_key=access_key(env),
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

    The region is that of the lake only where that is at AWS.
    """
    secret, parameter = found["tmdb_secret_arn"], found["tmdb_parameter_name"]
    if secret and parameter:
        raise SettingsError(
            "TMDB_SECRET_ARN and TMDB_PARAMETER_NAME are both set; only one of them should be"
        )
    name = secret or parameter
    if not name:
        return None
    return kept_secret(
        env,
        "TMDB_SECRET_ARN" if secret else "TMDB_PARAMETER_NAME",
        "secretsmanager" if secret else "ssm",
        name,
        endpoint_url=found["secretsmanager_url" if secret else "ssm_url"],
        region=None if found["endpoint_url"] else found["region"],
    )
