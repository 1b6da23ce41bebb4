"""The settings: their defaults, names, checks and files of secrets."""

from __future__ import annotations

import ast
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import SettingsError
from ingest.settings import VARIABLES, AccessKey, Variable, load
from ingest.settings.appliance import APPLIANCE_VARIABLES
from ingest.settings.environment import AWS_NAMES, OLDER_NAMES
from ingest.settings.remote import STATE_MACHINE_VARIABLES, TARGET_VARIABLES
from support import REPOSITORY

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0ZXN0In0.c2ln"
KEY = "0123456789abcdefABCDEF0123456789"
SECRET_ARN = "arn:aws:secretsmanager:sa-east-1:123456789012:secret:tmdb/token-AbC123"
PARAMETER_ARN = "arn:aws:ssm:sa-east-1:123456789012:parameter/tmdb/token"
LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "ingest"}
STANDARD = {"AWS_ACCESS_KEY_ID": "AKIDSTANDARD", "AWS_SECRET_ACCESS_KEY": "standard-secret"}
OLDER = {"AWS_ACCESS_KEY": "AKIDOLDER", "AWS_SECRET_KEY": "older-secret"}

DEFAULTS: dict[str, Any] = {
    "tmdb_access_token": None,
    "tmdb_api_key": None,
    "tmdb_secret_arn": None,
    "tmdb_parameter_name": None,
    "tmdb_base_url": "https://api.themoviedb.org/3",
    "language": "pt-BR",
    "genres": "16,35",
    "released_until": date(2023, 12, 31),
    "include_adult": False,
    "max_records": 100,
    "details": False,
    "rate": 20,
    "torn_after_s": 600,
    "bucket": None,
    "raw_zone_path": "raw/TMDB/JSON",
    "endpoint_url": None,
    "region": None,
    "local_dir": None,
    "output_format": "json",
    "compression": "none",
    "time_zone": "UTC",
    "allow_empty": False,
    "log_level": "INFO",
    "tracing": False,
    "secretsmanager_url": None,
    "ssm_url": None,
}

# field, variable, text, what the field then holds
GOOD = [
    ("tmdb_access_token", "TMDB_ACCESS_TOKEN", TOKEN, TOKEN),
    ("tmdb_api_key", "TMDB_API_KEY", KEY, KEY),
    ("tmdb_api_key", "API_KEY", KEY, KEY),
    ("tmdb_secret_arn", "TMDB_SECRET_ARN", SECRET_ARN, SECRET_ARN),
    ("tmdb_parameter_name", "TMDB_PARAMETER_NAME", "/tmdb/token", "/tmdb/token"),
    ("tmdb_base_url", "TMDB_BASE_URL", "http://127.0.0.1:8080/3/", "http://127.0.0.1:8080/3"),
    ("language", "TMDB_LANGUAGE", "en", "en"),
    ("genres", "TMDB_GENRES", "16|35|18", "16|35|18"),
    ("released_until", "TMDB_RELEASED_UNTIL", "2024-02-29", date(2024, 2, 29)),
    ("include_adult", "TMDB_INCLUDE_ADULT", "TRUE", True),
    ("max_records", "TMDB_MAX_RECORDS", "1", 1),
    ("details", "TMDB_DETAILS", "1", True),
    ("rate", "TMDB_RATE", "50", 50),
    ("torn_after_s", "TMDB_TORN_AFTER", "60", 60),
    ("bucket", "BUCKET_NAME", "my.lake-1", "my.lake-1"),
    ("raw_zone_path", "RAW_ZONE_PATH", "/raw/zone/", "raw/zone"),
    ("endpoint_url", "ENDPOINT_URL", "http://localhost:9000/", "http://localhost:9000"),
    ("endpoint_url", "AWS_ENDPOINT_URL_S3", "https://s3.example", "https://s3.example"),
    ("endpoint_url", "AWS_ENDPOINT_URL", "https://s3.example", "https://s3.example"),
    ("endpoint_url", "AWS_ENDPOINT", "https://s3.example", "https://s3.example"),
    ("region", "REGION_NAME", "sa-east-1", "sa-east-1"),
    ("region", "AWS_REGION", "sa-east-1", "sa-east-1"),
    ("region", "AWS_DEFAULT_REGION", "sa-east-1", "sa-east-1"),
    ("local_dir", "LOCAL_DIR", "copies/of it", Path("copies/of it")),
    ("output_format", "OUTPUT_FORMAT", "JSONL", "jsonl"),
    ("compression", "OUTPUT_COMPRESSION", "gzip", "gzip"),
    ("time_zone", "PARTITION_TIMEZONE", "America/Sao_Paulo", "America/Sao_Paulo"),
    ("allow_empty", "ALLOW_EMPTY", "yes", True),
    ("log_level", "LOG_LEVEL", "debug", "DEBUG"),
    ("tracing", "TRACING", "true", True),
    ("secretsmanager_url", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://aws", "http://aws"),
    ("ssm_url", "AWS_ENDPOINT_URL_SSM", "http://aws", "http://aws"),
]

_URL = "a URL that begins with http:// or https://"
_PREFIX = "a key prefix such as raw/TMDB/JSON"
_ZONE = "a time zone such as UTC or America/Sao_Paulo"
_GENRES = "TMDB genre ids joined by ,"
_DAY = "a calendar date as YYYY-MM-DD"
_LANGUAGE = "a language such as pt-BR or en"

# variable, a wrong text, what it should be
WRONG = [
    ("TMDB_BASE_URL", "https://api.themoviedb.org/4", "a URL that ends in /3"),
    ("TMDB_BASE_URL", "api.themoviedb.org/3", _URL),
    ("TMDB_BASE_URL", "ftp://api.themoviedb.org/3", _URL),
    ("TMDB_BASE_URL", "http://[::1/3", "a URL"),
    ("TMDB_BASE_URL", "http://tmdb.example:port/3", "a URL"),
    ("TMDB_BASE_URL", "http://tmdb.example:99999/3", "a URL"),
    ("TMDB_LANGUAGE", "portuguese", _LANGUAGE),
    ("TMDB_LANGUAGE", "pt_BR", _LANGUAGE),
    ("TMDB_GENRES", "Animation", _GENRES),
    ("TMDB_GENRES", "16,", _GENRES),
    ("TMDB_GENRES", "16,35|18", _GENRES),
    ("TMDB_GENRES", "١٦", _GENRES),
    ("TMDB_RELEASED_UNTIL", "2023-02-30", _DAY),
    ("TMDB_RELEASED_UNTIL", "20231231", _DAY),
    ("TMDB_RELEASED_UNTIL", "31/12/2023", _DAY),
    ("TMDB_INCLUDE_ADULT", "maybe", "true or false"),
    ("TMDB_MAX_RECORDS", "0", "a whole number from 1 to 100"),
    ("TMDB_MAX_RECORDS", "101", "a whole number from 1 to 100"),
    ("TMDB_MAX_RECORDS", "ten", "a whole number from 1 to 100"),
    ("TMDB_MAX_RECORDS", "1.5", "a whole number from 1 to 100"),
    ("TMDB_DETAILS", "2", "true or false"),
    ("TMDB_RATE", "0", "a whole number from 1 to 50"),
    ("TMDB_RATE", "51", "a whole number from 1 to 50"),
    ("TMDB_TORN_AFTER", "-1", "a whole number from 1 to"),
    ("BUCKET_NAME", "s3://lake/raw", "a bucket's name alone"),
    ("BUCKET_NAME", "ab", "a bucket's name alone"),
    ("RAW_ZONE_PATH", "raw//zone", _PREFIX),
    ("RAW_ZONE_PATH", "../raw", _PREFIX),
    ("RAW_ZONE_PATH", "/", _PREFIX),
    ("RAW_ZONE_PATH", "raw\\zone", _PREFIX),
    ("ENDPOINT_URL", "localhost:9000", _URL),
    ("AWS_ENDPOINT_URL", "localhost:9000", _URL),
    ("REGION_NAME", "us east", "a region such as us-east-1"),
    ("AWS_REGION", "us east", "a region such as us-east-1"),
    ("OUTPUT_FORMAT", "csv", "one of json, jsonl"),
    ("OUTPUT_COMPRESSION", "zip", "one of none, gzip"),
    ("PARTITION_TIMEZONE", "Brasilia", _ZONE),
    ("PARTITION_TIMEZONE", "../etc/passwd", _ZONE),
    ("PARTITION_TIMEZONE", "America", _ZONE),
    ("ALLOW_EMPTY", "si", "true or false"),
    ("TRACING", "maybe", "true or false"),
    ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "localhost:9000", _URL),
    ("AWS_ENDPOINT_URL_SSM", "localhost:9000", _URL),
    ("LOG_LEVEL", "LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
]


def _error(environ: dict[str, str]) -> str:
    """Return the one line with which loading ``environ`` fails."""
    with pytest.raises(SettingsError) as caught:
        load(environ)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert caught.value.exit_code == 2
    return text


def test_nothing_set_gives_the_defaults() -> None:
    loaded = load({})
    assert {variable.field: getattr(loaded, variable.field) for variable in VARIABLES} == DEFAULTS
    assert (loaded.access_key, loaded.kept_secret, loaded.in_lambda) == (None, None, False)


def test_every_variable_is_tried_below() -> None:
    names = {name for variable in VARIABLES for name in (variable.name, *variable.aliases)}
    assert {name for _, name, _, _ in GOOD} == names
    free_texts = {
        "TMDB_ACCESS_TOKEN",
        "TMDB_API_KEY",
        "TMDB_SECRET_ARN",
        "TMDB_PARAMETER_NAME",
        "LOCAL_DIR",
    }  # secrets have tests of their own
    assert {name for name, _, _ in WRONG} >= {variable.name for variable in VARIABLES} - free_texts


@pytest.mark.parametrize(("field", "name", "text", "value"), GOOD)
def test_a_good_value_is_taken_and_changes_nothing_else(
    field: str, name: str, text: str, value: object
) -> None:
    loaded = load({name: f" {text} "})
    held = {variable.field: getattr(loaded, variable.field) for variable in VARIABLES}
    assert held == DEFAULTS | {field: value}


@pytest.mark.parametrize(("name", "text", "should"), WRONG)
def test_a_wrong_value_is_named_with_what_it_should_be(name: str, text: str, should: str) -> None:
    message = _error({name: text})
    assert message.startswith(f"{name} holds {text!r}; it should be ")
    assert should in message


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_an_empty_variable_counts_as_unset(variable: Variable) -> None:
    empty = dict.fromkeys((variable.name, *variable.aliases), "")
    assert load(empty) == load({variable.name: "  "}) == load({})


@pytest.mark.parametrize(
    ("field", "environ", "value"),
    [
        ("tmdb_api_key", {"TMDB_API_KEY": "a" * 32, "API_KEY": "b" * 32}, "a" * 32),
        ("tmdb_api_key", {"TMDB_API_KEY": "", "API_KEY": "b" * 32}, "b" * 32),
        ("region", {"REGION_NAME": "one", "AWS_REGION": "two"}, "one"),
        ("region", {"AWS_REGION": "two", "AWS_DEFAULT_REGION": "three"}, "two"),
        (
            "endpoint_url",
            {"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": "http://all"},
            "http://s3",
        ),
        ("endpoint_url", {"ENDPOINT_URL": "http://own", "AWS_ENDPOINT_URL": "x"}, "http://own"),
    ],
)
def test_the_first_name_that_is_set_wins(field: str, environ: dict[str, str], value: str) -> None:
    assert getattr(load(environ), field) == value


# Secrets


@pytest.mark.parametrize(
    ("name", "secret", "told"),
    [
        ("TMDB_ACCESS_TOKEN", KEY, "this is a v3 key: set TMDB_API_KEY to it"),
        ("TMDB_API_KEY", TOKEN, "this is a v4 access token: set TMDB_ACCESS_TOKEN to it"),
        ("API_KEY", TOKEN, "this is a v4 access token: set TMDB_ACCESS_TOKEN to it"),
        ("TMDB_ACCESS_TOKEN", "eyJ with spaces", "a v4 access token"),
        ("TMDB_ACCESS_TOKEN", "eyJ\ninjected: header", "a v4 access token"),
        ("TMDB_API_KEY", "0123456789abcdef", "a v3 key of 32 hexadecimal digits"),
        ("TMDB_API_KEY", "g" * 32, "a v3 key of 32 hexadecimal digits"),
    ],
)
def test_a_wrong_secret_is_described_but_not_shown(name: str, secret: str, told: str) -> None:
    message = _error({name: secret})
    assert message.startswith(f"{name} holds a value of {len(secret)} characters; it should be ")
    assert told in message
    assert secret not in message


@pytest.mark.parametrize("name", ["TMDB_BASE_URL", "ENDPOINT_URL"])
@pytest.mark.parametrize(
    "url", [f"https://me:{KEY}@host.example/3", f"https://host.example/3?api_key={KEY}"]
)
def test_a_secret_inside_a_url_is_refused_but_not_shown(name: str, url: str) -> None:
    message = _error({name: url})
    assert name in message
    assert KEY not in message


@pytest.mark.parametrize("secret", [TOKEN, KEY])
def test_a_secret_where_its_files_name_should_be_is_not_shown(secret: str) -> None:
    message = _error({"TMDB_ACCESS_TOKEN_FILE": secret})
    assert "TMDB_ACCESS_TOKEN_FILE" in message
    assert secret not in message


def test_settings_do_not_show_their_secrets() -> None:
    environ = {"TMDB_ACCESS_TOKEN": TOKEN, "TMDB_API_KEY": KEY, **STANDARD}
    loaded = load({**environ, "AWS_SESSION_TOKEN": "temporary"})
    shown = f"{loaded!r} {loaded} {loaded.access_key!r}"
    assert loaded.access_key == AccessKey("AKIDSTANDARD", "standard-secret", "temporary")
    assert not [
        secret for secret in (TOKEN, KEY, *STANDARD.values(), "temporary") if secret in shown
    ]


def _held(name: str, environ: dict[str, str]) -> str | None:
    """Return what the secret of this name became in the settings."""
    pair = OLDER if name in {*OLDER, "SESSION_TOKEN"} else STANDARD
    loaded = load({**{key: text for key, text in pair.items() if key != name}, **environ})
    assert loaded.access_key
    return {
        "TMDB_ACCESS_TOKEN": loaded.tmdb_access_token,
        "TMDB_API_KEY": loaded.tmdb_api_key,
        "API_KEY": loaded.tmdb_api_key,
        "AWS_ACCESS_KEY_ID": loaded.access_key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": loaded.access_key.secret_access_key,
        "AWS_SESSION_TOKEN": loaded.access_key.session_token,
        "AWS_ACCESS_KEY": loaded.access_key.access_key_id,
        "AWS_SECRET_KEY": loaded.access_key.secret_access_key,
        "SESSION_TOKEN": loaded.access_key.session_token,
    }[name]


SECRETS = [
    *("TMDB_ACCESS_TOKEN", "TMDB_API_KEY", "API_KEY"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_ACCESS_KEY", "AWS_SECRET_KEY", "SESSION_TOKEN"),
]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_be_in_a_file(name: str, ending: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    secret = TOKEN if name == "TMDB_ACCESS_TOKEN" else KEY
    file.write_bytes(f"{secret}{ending}".encode())
    assert _held(name, {f"{name}_FILE": str(file)}) == secret


@pytest.mark.parametrize("name", SECRETS)
def test_a_secrets_file_that_cannot_be_read_is_an_error(name: str, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "absent", tmp_path, binary):
        message = _error({f"{name}_FILE": str(file)})
        assert message.startswith(f"{name}_FILE holds {str(file)!r}; it should be a readable file")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_and_its_file_are_not_both_set(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(KEY)
    message = _error({name: TOKEN, f"{name}_FILE": str(file)})
    assert f"{name} and {name}_FILE are both set" in message
    assert TOKEN not in message


# What AWS keeps


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("TMDB_SECRET_ARN", TOKEN, "a secret of AWS Secrets Manager"),
        ("TMDB_SECRET_ARN", KEY, "a secret of AWS Secrets Manager"),
        ("TMDB_SECRET_ARN", f"Bearer {TOKEN}", "a secret of AWS Secrets Manager"),
        ("TMDB_SECRET_ARN", PARAMETER_ARN, "a secret of AWS Secrets Manager"),
        ("TMDB_PARAMETER_NAME", TOKEN, "a parameter of AWS Systems Manager"),
        ("TMDB_PARAMETER_NAME", f'{{"TMDB_API_KEY": "{KEY}"}}', "a parameter of AWS"),
        ("TMDB_PARAMETER_NAME", SECRET_ARN, "a parameter of AWS Systems Manager"),
    ],
)
def test_what_is_no_name_of_a_secret_may_be_one_and_is_not_shown(
    name: str, text: str, what: str
) -> None:
    message = _error({name: text})
    assert message.startswith(f"{name} holds a value of {len(text)} characters; it should be ")
    assert what in message
    assert text not in message


def test_a_secret_and_a_parameter_are_not_both_set() -> None:
    message = _error({"TMDB_SECRET_ARN": SECRET_ARN, "TMDB_PARAMETER_NAME": "/tmdb/token"})
    assert message.startswith("TMDB_SECRET_ARN and TMDB_PARAMETER_NAME are both set")


OF_DIGITALOCEAN = {"ENDPOINT_URL": "https://sfo3.digitaloceanspaces.com", "REGION_NAME": "sfo3"}


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"TMDB_SECRET_ARN": SECRET_ARN, "AWS_REGION": "us-east-1"}, "sa-east-1"),
        ({"TMDB_PARAMETER_NAME": PARAMETER_ARN, **OF_DIGITALOCEAN}, "sa-east-1"),
        ({"TMDB_SECRET_ARN": "tmdb", "AWS_REGION": "us-east-1"}, "us-east-1"),
        ({"TMDB_SECRET_ARN": "tmdb", "AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({"TMDB_SECRET_ARN": "tmdb", "AWS_REGION": "us-east-1", **OF_DIGITALOCEAN}, "us-east-1"),
        ({"TMDB_SECRET_ARN": "tmdb", "REGION_NAME": "eu-west-1"}, "eu-west-1"),
        ({"TMDB_SECRET_ARN": "tmdb", **OF_DIGITALOCEAN}, None),
    ],
)
def test_the_region_of_a_secret_is_not_that_of_a_store_elsewhere(
    environ: dict[str, str], region: str | None
) -> None:
    kept = load(environ).kept_secret
    assert kept
    assert kept.region == region


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [
        ("TMDB_SECRET_ARN", "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
        ("TMDB_PARAMETER_NAME", "AWS_ENDPOINT_URL_SSM"),
    ],
)
@pytest.mark.parametrize("of_store", ["ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_the_endpoint_of_a_secret_is_its_own(name: str, endpoint: str, of_store: str) -> None:
    environ = {name: "tmdb", of_store: "https://sfo3.digitaloceanspaces.com"}
    kept = load(environ).kept_secret
    assert kept
    assert kept.endpoint_url is None
    kept = load({**environ, endpoint: "http://127.0.0.1:5000"}).kept_secret
    assert kept
    assert kept.endpoint_url == "http://127.0.0.1:5000"


def test_a_secret_is_asked_for_with_the_key_pair_of_aws_not_of_the_store(tmp_path: Path) -> None:
    secret = {"TMDB_SECRET_ARN": "tmdb"}
    of_aws = AccessKey("AKIDSTANDARD", "standard-secret")
    for environ, key in (
        (STANDARD, of_aws),
        ({**STANDARD, **OLDER}, of_aws),
        (OLDER, None),
        ({}, None),
    ):
        kept = load({**secret, **environ}).kept_secret
        assert kept
        assert kept.access_key == key
    (tmp_path / "file").write_text("standard-secret")
    environ = {"AWS_ACCESS_KEY_ID": "AKIDSTANDARD"}
    environ |= {"AWS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "file")}
    kept = load({**secret, **environ}).kept_secret
    assert kept
    assert kept.access_key == of_aws


# S3 credentials


@pytest.mark.parametrize(
    ("present", "absent"),
    [
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        ("AWS_ACCESS_KEY", "AWS_SECRET_KEY"),
        ("AWS_SECRET_KEY", "AWS_ACCESS_KEY"),
    ],
)
def test_half_a_key_pair_is_an_error(present: str, absent: str) -> None:
    message = _error({present: "half-of-it"})
    assert message.startswith(f"{absent} is not set, but {present} is")
    assert "half-of-it" not in message


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        (OLDER, AccessKey("AKIDOLDER", "older-secret")),
        ({**OLDER, "SESSION_TOKEN": "t"}, AccessKey("AKIDOLDER", "older-secret", "t")),
        ({**OLDER, "AWS_SESSION_TOKEN": "t"}, AccessKey("AKIDOLDER", "older-secret")),
        ({**OLDER, **STANDARD}, AccessKey("AKIDSTANDARD", "standard-secret")),
    ],
)
def test_older_aws_names_work_and_the_standard_ones_win(
    environ: dict[str, str], key: AccessKey
) -> None:
    assert load(environ).access_key == key


def test_in_lambda_the_older_names_win_over_the_functions_role() -> None:
    role = {**STANDARD, "AWS_SESSION_TOKEN": "of-the-role"}
    environ = {**LAMBDA, "BUCKET_NAME": "lake", "TMDB_API_KEY": KEY, **role}
    assert load({**environ, **OLDER}).access_key == AccessKey("AKIDOLDER", "older-secret")
    assert load(environ).access_key == AccessKey(*role.values())


# Lambda


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"TMDB_API_KEY": KEY}, "BUCKET_NAME"),
        ({"TMDB_API_KEY": KEY, "BUCKET_NAME": " "}, "BUCKET_NAME"),
        ({"TMDB_API_KEY": KEY, "LOCAL_DIR": "/tmp"}, "BUCKET_NAME"),  # noqa: S108 - not used
        ({"BUCKET_NAME": "lake"}, "TMDB_ACCESS_TOKEN"),
    ],
)
def test_lambda_needs_a_bucket_and_tmdb_credentials(environ: dict[str, str], name: str) -> None:
    assert not load(environ).in_lambda
    assert _error({**LAMBDA, **environ}).startswith(f"{name} is not set; in Lambda it should be ")


@pytest.mark.parametrize(
    "credential",
    [
        {"TMDB_API_KEY": KEY},
        {"TMDB_ACCESS_TOKEN": TOKEN},
        {"TMDB_SECRET_ARN": SECRET_ARN},
        {"TMDB_PARAMETER_NAME": "/tmdb/token"},
    ],
)
def test_lambda_needs_no_more_than_that(credential: dict[str, str]) -> None:
    loaded = load({**LAMBDA, "BUCKET_NAME": "lake", **credential})
    assert (loaded.in_lambda, loaded.has_tmdb_credentials) == (True, True)


# Where settings come from and where they are told


def test_load_reads_the_environment_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMDB_LANGUAGE", "en-GB")
    assert load().language == "en-GB"


def _uses_of_the_environment(source: Path) -> list[int]:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    return [
        node.lineno
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names})
    ]


def test_only_one_module_of_the_settings_reads_the_environment() -> None:
    sources = [*(REPOSITORY / "ingest").rglob("*.py"), REPOSITORY / "handler.py"]
    assert [source for source in sources if _uses_of_the_environment(source)] == [
        REPOSITORY / "ingest" / "settings" / "environment.py"
    ]


def test_the_readme_lists_every_variable_with_its_aliases_and_default() -> None:
    readme = REPOSITORY / "README.md"
    rows = [
        re.split(r"(?<!\\)\|", line.strip())[1:-1]
        for line in readme.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*\|\s*`[A-Z][A-Z0-9_]+`", line)
    ]
    told = {name: " ".join(row) for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    aws_chain = {*AWS_NAMES, *OLDER_NAMES}
    # The others are names that are not ours, which the text tells.
    others = (*APPLIANCE_VARIABLES, *STATE_MACHINE_VARIABLES, *TARGET_VARIABLES)
    ours = (*VARIABLES, *(each for each in others if each.name.isupper()))
    assert told.keys() - aws_chain == {variable.name for variable in ours}
    for variable in ours:
        for text in (*variable.aliases, variable.default):
            assert not text or f"`{text}`" in told[variable.name], (variable.name, text)
