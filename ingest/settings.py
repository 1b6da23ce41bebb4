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
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ingest.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


class _WrongError(ValueError):
    """What a value should be; ``str`` completes "NAME holds …; it should be"."""


class _WrongSecretError(_WrongError):
    """The same, where the value may have a secret in it and is not to be shown."""


def _matching(pattern: str, should: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise _WrongError(should)
        return text

    return parse


def _one_of(*choices: str, fold: Callable[[str], str] = str.lower) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if fold(text) not in choices:
            raise _WrongError(f"one of {', '.join(choices)}")
        return fold(text)

    return parse


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise _WrongError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise _WrongError("true or false")


def _date(text: str) -> date:
    day = calendar_day(text)
    if day is None:
        raise _WrongError("a calendar date as YYYY-MM-DD")
    return day


def _url(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise _WrongError("a URL of printable ASCII without spaces")
    if not {"@", "?", "#"}.isdisjoint(text):
        raise _WrongSecretError("a URL without user, query or fragment")
    try:
        parts = urlsplit(text)
        whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise _WrongError("a URL that begins with http:// or https:// and a host")
    return text.rstrip("/")


def _tmdb_url(text: str) -> str:
    url = _url(text)
    if not url.endswith("/3"):
        raise _WrongError("a URL that ends in /3, the version of the API")
    return url


def _prefix(text: str) -> str:
    path = text.strip("/")
    segments = path.split("/")
    if not path.isprintable() or "\\" in path or not {"", ".", ".."}.isdisjoint(segments):
        raise _WrongError("a key prefix such as raw/TMDB/JSON, with no empty, . or .. segment")
    return path


def _directory(text: str) -> Path:
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise _WrongError("a directory, or the name of one to be made")
    return path


def _time_zone(text: str) -> str:
    if text == "UTC":
        return text
    # Loaded here because most runs are in UTC, which needs no table of zones.
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    try:
        ZoneInfo(text)
    except (LookupError, ValueError, OSError):
        raise _WrongError("a time zone such as UTC or America/Sao_Paulo") from None
    return text


V3_KEY = re.compile(r"[0-9a-fA-F]{32}")


def _token(text: str) -> str:
    if V3_KEY.fullmatch(text):
        raise _WrongError(
            "a v4 access token (it begins with eyJ), but this is a v3 key: set TMDB_API_KEY to it"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise _WrongError("a v4 access token: printable ASCII without spaces")
    return text


def _api_key(text: str) -> str:
    if text.startswith("eyJ"):
        raise _WrongError(
            "a v3 key of 32 hexadecimal digits, but this is a v4 access token: "
            "set TMDB_ACCESS_TOKEN to it"
        )
    if not V3_KEY.fullmatch(text):
        raise _WrongError("a v3 key of 32 hexadecimal digits")
    return text


_BUCKET = _matching(
    r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]",
    "a bucket's name alone: 3 or more letters, digits, dots, hyphens or underscores",
)
_GENRES = _matching(
    r"[0-9]+(,[0-9]+)*|[0-9]+(\|[0-9]+)*",
    "TMDB genre ids joined by , (all of them) or by | (any of them)",
)


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting: a field of ``Settings``, its variable and how its text is read."""

    field: str
    name: str
    parse: Callable[[str], Any]
    meaning: str
    default: str = ""
    aliases: tuple[str, ...] = ()
    secret: bool = False


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "tmdb_access_token",
        "TMDB_ACCESS_TOKEN",
        _token,
        "TMDB v4 access token, sent in the Authorization header. Wins over TMDB_API_KEY.",
        secret=True,
    ),
    Variable(
        "tmdb_api_key",
        "TMDB_API_KEY",
        _api_key,
        "TMDB v3 key of 32 hexadecimal digits, sent in the query.",
        aliases=("API_KEY",),
        secret=True,
    ),
    Variable(
        "tmdb_base_url",
        "TMDB_BASE_URL",
        _tmdb_url,
        "Where the API is; ends in /3.",
        "https://api.themoviedb.org/3",
    ),
    Variable(
        "language",
        "TMDB_LANGUAGE",
        _matching(r"[a-z]{2}(-[A-Z]{2})?", "a language such as pt-BR or en"),
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
        "include_adult", "TMDB_INCLUDE_ADULT", _boolean, "Also titles marked as adult.", "false"
    ),
    Variable(
        "max_records",
        "TMDB_MAX_RECORDS",
        _whole_number(1, MAX_RECORDS),
        "Most records of a dataset, 1 to 100.",
        "100",
    ),
    Variable(
        "details",
        "TMDB_DETAILS",
        _boolean,
        "Also land each title's details, with the number of seasons of a series.",
        "false",
    ),
    Variable(
        "rate",
        "TMDB_RATE",
        _whole_number(1, 50),
        "Most requests to TMDB in any second, 1 to 50.",
        "20",
    ),
    Variable(
        "torn_after_s",
        "TMDB_TORN_AFTER",
        _whole_number(1, 86_400),
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
        _prefix,
        "Prefix of the raw zone in the lake.",
        "raw/TMDB/JSON",
    ),
    Variable(
        "endpoint_url",
        "ENDPOINT_URL",
        _url,
        "Endpoint of an S3-compatible store; AWS without it.",
        aliases=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    ),
    Variable(
        "region",
        "REGION_NAME",
        _matching(r"[A-Za-z0-9-]+", "a region such as us-east-1"),
        "Region of the bucket.",
        aliases=("AWS_REGION", "AWS_DEFAULT_REGION"),
    ),
    Variable(
        "local_dir",
        "LOCAL_DIR",
        _directory,
        "With a bucket, a directory that gets a copy of what lands; without, the lake (./lake).",
    ),
    Variable(
        "output_format",
        "OUTPUT_FORMAT",
        _one_of("json", "jsonl"),
        "json (an indented array) or jsonl (one record a line).",
        "json",
    ),
    Variable("compression", "OUTPUT_COMPRESSION", _one_of("none", "gzip"), "none or gzip.", "none"),
    Variable(
        "time_zone",
        "PARTITION_TIMEZONE",
        _time_zone,
        "Time zone in which the planned time becomes the partition's date.",
        "UTC",
    ),
    Variable(
        "allow_empty", "ALLOW_EMPTY", _boolean, "Land a dataset even if it has no record.", "false"
    ),
    Variable(
        "log_level",
        "LOG_LEVEL",
        _one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", fold=str.upper),
        "DEBUG, INFO, WARNING, ERROR or CRITICAL.",
        "INFO",
    ),
)

_STORE_FIELDS = frozenset({"endpoint_url", "region"})

DIRECTORY_VARIABLES: tuple[Variable, ...] = (
    Variable("source_bucket", "SOURCE_BUCKET", _BUCKET, "Bucket to download from."),
    Variable(
        "source_dir",
        "SOURCE_DIR",
        _prefix,
        "Directory of that bucket, which lands in downloads/ under its own name.",
    ),
    Variable("target_bucket", "TARGET_BUCKET", _BUCKET, "Bucket to upload to."),
    Variable("target_dir", "TARGET_DIR", _prefix, "Directory of that bucket to upload into."),
    Variable(
        "source_local_dir",
        "SOURCE_LOCAL_DIR",
        _prefix,
        "Directory to upload, inside of downloads/.",
    ),
)
"""What ``ingest upload`` and ``ingest download`` take where they are given no arguments."""

_AWS_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_OLDER_NAMES = ("AWS_ACCESS_KEY", "AWS_SECRET_KEY", "SESSION_TOKEN")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key pair for S3, with the token of a temporary one. Never shown by ``repr``."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked. Fields are described in ``VARIABLES``."""

    tmdb_access_token: str | None = field(repr=False)
    tmdb_api_key: str | None = field(repr=False)
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
    access_key: AccessKey | None
    in_lambda: bool

    @property
    def has_tmdb_credentials(self) -> bool:
        """Whether a token or a key of TMDB is set."""
        return bool(self.tmdb_access_token or self.tmdb_api_key)


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
    values = {
        variable.field: _value(env, variable)
        for variable in VARIABLES
        if variable.field in _STORE_FIELDS
    }
    return StoreSettings(**values, access_key=_access_key(env))


def load_directories(environ: Mapping[str, str] | None = None) -> Directories:
    """Read and check ``DIRECTORY_VARIABLES``. Raises ``SettingsError`` as ``load`` does."""
    env = os.environ if environ is None else environ
    return Directories(
        **{variable.field: _value(env, variable) for variable in DIRECTORY_VARIABLES}
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
    values = {variable.field: _value(env, variable) for variable in VARIABLES}
    settings = Settings(**values, access_key=_access_key(env), in_lambda=in_lambda(env))
    if settings.in_lambda and not settings.bucket:
        raise SettingsError(
            "BUCKET_NAME is not set; in Lambda it should be the bucket of the data lake"
        )
    if settings.in_lambda and not settings.has_tmdb_credentials:
        raise SettingsError(
            "TMDB_ACCESS_TOKEN is not set; in Lambda it should be a v4 access token of TMDB "
            "(or TMDB_API_KEY a v3 key)"
        )
    return settings


def _value(env: Mapping[str, str], variable: Variable) -> Any:  # noqa: ANN401 - one per field
    for name in (variable.name, *variable.aliases):
        text = _read(env, name, secret=variable.secret)
        if text:
            return _checked(name, text, variable)
    return _checked(variable.name, variable.default, variable) if variable.default else None


def _checked(name: str, text: str, variable: Variable) -> Any:  # noqa: ANN401 - one per field
    try:
        return variable.parse(text)
    except _WrongError as wrong:
        should = str(wrong)
        secret = variable.secret or isinstance(wrong, _WrongSecretError)
    raise SettingsError(f"{name} holds {_shown(text, secret=secret)}; it should be {should}")


def _shown(text: str, *, secret: bool) -> str:
    return f"a value of {len(text)} characters" if secret else repr(text)


def _read(env: Mapping[str, str], name: str, *, secret: bool) -> str:
    """Return a variable's text; a secret may instead be in the file that ``NAME_FILE`` names."""
    text = env.get(name, "").strip()
    file = env.get(f"{name}_FILE", "").strip() if secret else ""
    if not file:
        return text
    if text:
        raise SettingsError(f"{name} and {name}_FILE are both set; only one of them should be")
    reason: str | None = "it is empty"
    try:
        if found := Path(file).read_text(encoding="utf-8-sig").rstrip("\r\n"):
            return found
    except OSError as error:
        reason = error.strerror
    except ValueError:
        reason = "it is not UTF-8 text"
    # Somebody may have put the secret itself where the name of its file belongs.
    shown = _shown(file, secret=not file.startswith(("/", "./", "../")))
    raise SettingsError(f"{name}_FILE holds {shown}; it should be a readable file: {reason}")


def _access_key(env: Mapping[str, str]) -> AccessKey | None:
    """Return the key pair of the environment, or None: the rest of the AWS chain decides.

    The standard names win, except in Lambda: there they always hold the function's role and
    cannot be set, so that a key given under the older names is the one that is meant.
    """
    families = [_AWS_NAMES, _OLDER_NAMES]
    for names in reversed(families) if in_lambda(env) else families:
        values = [_key_part(name, _read(env, name, secret=True)) for name in names]
        if values[0] and values[1]:
            return AccessKey(values[0], values[1], values[2] or None)
        if values[0] or values[1]:
            present, absent = names[:2] if values[0] else names[1::-1]
            raise SettingsError(f"{absent} is not set, but {present} is; both should be or neither")
    return None


def _key_part(name: str, text: str) -> str:
    if text and not re.fullmatch(r"[\x21-\x7e]+", text):
        held = _shown(text, secret=True)
        raise SettingsError(f"{name} holds {held}; it should be printable ASCII without spaces")
    return text
