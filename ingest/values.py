"""Texts of settings -> checked values: what each kind of setting may hold, and how it is read.

A parser takes the text and returns the value, or raises ``WrongError`` that says what it should
be; ``WrongSecretError`` where the text may have a secret in it and is not to be shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ingest.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class WrongError(ValueError):
    """What a value should be; ``str`` completes "NAME holds …; it should be"."""


class WrongSecretError(WrongError):
    """The same, where the value may have a secret in it and is not to be shown."""


def matching(pattern: str, should: str) -> Callable[[str], str]:
    """Make a parser of texts that match ``pattern`` as a whole."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise WrongError(should)
        return text

    return parse


def one_of(*choices: str, fold: Callable[[str], str] = str.lower) -> Callable[[str], str]:
    """Make a parser of these words, whatever their case."""

    def parse(text: str) -> str:
        if fold(text) not in choices:
            raise WrongError(f"one of {', '.join(choices)}")
        return fold(text)

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Make a parser of whole numbers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise WrongError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def boolean(text: str) -> bool:
    """Read true or false."""
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise WrongError("true or false")


def url(text: str) -> str:
    """Read an address of http or https, which holds no credentials; without a final slash."""
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise WrongError("a URL of printable ASCII without spaces")
    if not {"@", "?", "#"}.isdisjoint(text):
        raise WrongSecretError("a URL without user, query or fragment")
    try:
        parts = urlsplit(text)
        whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise WrongError("a URL that begins with http:// or https:// and a host")
    return text.rstrip("/")


def tmdb_url(text: str) -> str:
    """Read the address of version 3 of TMDB's API."""
    address = url(text)
    if not address.endswith("/3"):
        raise WrongError("a URL that ends in /3, the version of the API")
    return address


def prefix(text: str) -> str:
    """Read the prefix of keys that mean a directory; without slashes around it."""
    path = text.strip("/")
    segments = path.split("/")
    if not path.isprintable() or "\\" in path or not {"", ".", ".."}.isdisjoint(segments):
        raise WrongError("a key prefix such as raw/TMDB/JSON, with no empty, . or .. segment")
    return path


def directory(text: str) -> Path:
    """Read the path of a local directory, which need not exist."""
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise WrongError("a directory, or the name of one to be made")
    return path


def time_zone(text: str) -> str:
    """Read the name of a time zone."""
    if text == "UTC":
        return text
    # Loaded here because most runs are in UTC, which needs no table of zones.
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    try:
        ZoneInfo(text)
    except (LookupError, ValueError, OSError):
        raise WrongError("a time zone such as UTC or America/Sao_Paulo") from None
    return text


bucket = matching(
    r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]",
    "a bucket's name alone: 3 or more letters, digits, dots, hyphens or underscores",
)
"""Read the name of a bucket."""

region = matching(r"[A-Za-z0-9-]+", "a region such as us-east-1")
"""Read the name of a region."""

key_part = matching(r"[\x21-\x7e]+", "printable ASCII without spaces")
"""Read the id of an access key, or the key."""

state_machine = matching(
    r"arn:aws[a-z-]*:states:[a-z0-9-]+:[0-9]{12}:stateMachine:[A-Za-z0-9_.-]{1,80}",
    "the ARN of a state machine of AWS Step Functions, an output of the stack",
)
"""Read what Step Functions knows a state machine by."""

_V3_KEY = re.compile(r"[0-9a-fA-F]{32}")
_V4_BEGINS = "eyJ"


def token(text: str) -> str:
    """Read a v4 access token of TMDB."""
    if _V3_KEY.fullmatch(text):
        raise WrongError(
            "a v4 access token (it begins with eyJ), but this is a v3 key: set TMDB_API_KEY to it"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise WrongError("a v4 access token: printable ASCII without spaces")
    return text


def api_key(text: str) -> str:
    """Read a v3 key of TMDB."""
    if text.startswith(_V4_BEGINS):
        raise WrongError(
            "a v3 key of 32 hexadecimal digits, but this is a v4 access token: "
            "set TMDB_ACCESS_TOKEN to it"
        )
    if not _V3_KEY.fullmatch(text):
        raise WrongError("a v3 key of 32 hexadecimal digits")
    return text


def kept_in(service: str, what: str) -> Callable[[str], str]:
    """Make a parser of the ARN, or the name, of something that ``service`` of AWS keeps."""

    def parse(text: str) -> str:
        of_another = text.startswith("arn:") and not re.match(rf"arn:[a-z-]+:{service}:.+", text)
        # Somebody may have put the secret itself where its name belongs.
        of_tmdb = _V4_BEGINS in text or _V3_KEY.fullmatch(text)
        if of_another or of_tmdb or not re.fullmatch(r"[A-Za-z0-9/_+=.@!:-]{1,2048}", text):
            raise WrongSecretError(f"the ARN or the name of {what}, not what it holds")
        return text

    return parse


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


def value_of(env: Mapping[str, str], variable: Variable) -> Any:  # noqa: ANN401 - one per field
    """Return what ``variable`` holds in ``env``: of the first of its names that is set, or None.

    Raises ``SettingsError`` that names the variable, what it holds and what it should.
    """
    for name in (variable.name, *variable.aliases):
        text = read(env, name, secret=variable.secret)
        if text:
            return checked(name, text, variable)
    return checked(variable.name, variable.default, variable) if variable.default else None


def checked(name: str, text: str, variable: Variable) -> Any:  # noqa: ANN401 - one per field
    """Return ``text``, which ``name`` holds, as ``variable`` reads it; raises ``SettingsError``."""
    try:
        return variable.parse(text)
    except WrongError as wrong:
        should = str(wrong)
        secret = variable.secret or isinstance(wrong, WrongSecretError)
    raise SettingsError(f"{name} holds {shown(text, secret=secret)}; it should be {should}")


def shown(text: str, *, secret: bool) -> str:
    """Return how an error shows ``text``."""
    return f"a value of {len(text)} characters" if secret else repr(text)


def read(env: Mapping[str, str], name: str, *, secret: bool) -> str:
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
    held = shown(file, secret=not file.startswith(("/", "./", "../")))
    raise SettingsError(f"{name}_FILE holds {held}; it should be a readable file: {reason}")
