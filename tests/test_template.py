"""What template.yaml says, for the parameters it can be given; no service is asked.

The linters have their say in ``make lint``. Here is what they cannot know: what belongs together,
and the settings, limits and names on the other side.
"""

from __future__ import annotations

import itertools
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cloudformation import TEMPLATE, Evaluation, source, transformed
from ingest.settings import VARIABLES, load
from policies import listed
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tmdb-AbCdEf"
BY_SECRET = {"TmdbSecretArn": SECRET}
BY_PARAMETER = {"TmdbParameterName": "/tmdb/token"}
KEY = "arn:aws:kms:us-east-1:123456789012:key/0b1c"
OWN_BUCKET = {**BY_SECRET, "ExistingBucketName": "our-lake"}
VARIANTS = [
    pytest.param(parameters, id="-".join(parameters))
    for parameters in (
        BY_SECRET,
        BY_PARAMETER,
        OWN_BUCKET,
        {**BY_SECRET, "OutputFormat": "jsonl", "OutputCompression": "gzip", "TmdbDetails": "true"},
        {**BY_SECRET, "Tracing": "PassThrough", "LogLevel": "CRITICAL", "AlarmEmail": "a@b.org"},
        {**BY_PARAMETER, "TmdbTokenKeyArn": KEY, "AccessLogBucketName": "our-logs"},
    )
]

LINES = TEMPLATE.read_text(encoding="utf-8").splitlines()


def _statements(parameters: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Each statement of the function's role."""
    evaluation = Evaluation(parameters)
    inline = evaluation.resources("AWS::IAM::Role")["IngestRole"]["Policies"]
    for policy in (*inline, *evaluation.resources("AWS::IAM::Policy").values()):
        yield from policy["PolicyDocument"]["Statement"]


def _allowed(parameters: dict[str, str]) -> dict[str, Any]:
    """What the function may do, action by action."""
    found = [
        (action, statement["Resource"])
        for statement in _statements(parameters)
        for action in listed(statement["Action"])
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def _function(parameters: dict[str, str]) -> dict[str, Any]:
    return Evaluation(parameters).resources("AWS::Lambda::Function")["IngestFunction"]


def _variables(parameters: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = _function(parameters)["Environment"]["Variables"]
    return found


# The checklist


def test_every_rule_of_the_list_is_answered() -> None:
    rules = [match[1] for line in LINES if (match := re.match(r"# (T\d+) +\S", line))]
    assert rules == [f"T{number}" for number in range(1, 25)]
    end = max(index for index, line in enumerate(LINES) if re.match(r"# T24 +\S", line))
    answers = {each for line in LINES[end + 1 :] for each in re.findall(r"\bT\d+\b", line)}
    assert answers == set(rules)


def test_every_suppression_has_its_reason() -> None:
    skips = [
        skip
        for resource in source()["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert len(skips) == sum("- id: CKV" in line for line in LINES)
    assert all(len(skip["comment"]) >= len("As above.") for skip in skips)
    ignored = [line for line in LINES if re.match(r" +- [EWI]\w?\d{4}", line)]
    assert len(ignored) >= 4
    assert [line for line in ignored if not re.search(r" # (T\d+: )?\w+ \w+", line)] == []
    others = "checkov:skip nosec cfn-lint-disable".split()
    assert not [line for line in LINES if any(each in line for each in others)]


# Parameters


def test_every_parameter_is_described_and_shown_in_a_group() -> None:
    parameters = source()["Parameters"]
    groups = source()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [name for group in groups for name in group["Parameters"]]
    assert shown == list(parameters)
    assert all(parameter["Description"].endswith(".") for parameter in parameters.values())
    checks = ("AllowedPattern", "AllowedValues", "MaxValue")
    assert all(any(check in each for check in checks) for each in parameters.values())


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("TmdbSecretArn", ["", SECRET], ["tmdb", "eyJhbGciOi.token"]),
        ("TmdbParameterName", ["", "/tmdb/token", "/token"], ["token", "/tmdb/", "eyJ.token"]),
        ("TmdbTokenKeyArn", ["", KEY], ["alias/aws/ssm"]),
        ("TmdbLanguage", ["pt-BR", "en"], ["pt_BR", ""]),
        ("TmdbGenres", ["16", "16,35", "16|35"], ["16,35|99", "Comedy", ""]),
        ("TmdbReleasedUntil", ["2023-12-31"], ["31/12/2023"]),
        ("ScheduleExpression", ["cron(0 6 * * ? *)", "rate(12 hours)"], ["0 6 * * *"]),
        ("ScheduleTimezone", ["UTC", "America/Sao_Paulo", "Etc/GMT+3"], ["Sao Paulo", ""]),
        ("ExistingBucketName", ["", "our-lake"], ["s3://our-lake", "Our_Lake"]),
        ("AccessLogBucketName", ["", "our-logs"], ["our-logs/"]),
        ("RawZonePath", ["raw", "raw/TMDB/JSON"], ["/raw", "raw/", "raw//x", "raw/../x", "raw/*"]),
        ("AlarmEmail", ["", "a@example.org"], ["a", "a@b@c", "a b@c"]),
    ],
)
def test_a_parameter_takes_what_is_right_alone(
    name: str, right: list[str], wrong: list[str]
) -> None:
    parameter = source()["Parameters"][name]
    pattern = re.compile(parameter["AllowedPattern"])
    assert all(pattern.search(value) for value in (*right, parameter["Default"]))
    assert not any(pattern.search(value) for value in wrong)


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({}, "one of TmdbSecretArn and TmdbParameterName"),
        ({**BY_SECRET, **BY_PARAMETER}, "one of TmdbSecretArn and TmdbParameterName"),
        (BY_SECRET, None),
        (BY_PARAMETER, None),
        ({**OWN_BUCKET, "AccessLogBucketName": "our-logs"}, "AccessLogBucketName"),
        ({**BY_SECRET, "AccessLogBucketName": "our-logs"}, None),
        (OWN_BUCKET, None),
    ],
)
def test_what_does_not_go_together_is_refused(
    parameters: dict[str, str], refused: str | None
) -> None:
    told = Evaluation(parameters).refusals()
    assert len(told) == (1 if refused else 0)
    assert all(str(refused) in each for each in told)


# Settings


@pytest.mark.parametrize("parameters", VARIANTS)
def test_the_function_takes_the_variables_it_is_given(parameters: dict[str, str]) -> None:
    variables = _variables(parameters)
    known = {variable.name for variable in VARIABLES}
    powertools = {name for name in variables if name.startswith("POWERTOOLS_")}
    assert variables.keys() - powertools <= known
    assert powertools == {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"}
    bucket = {"BUCKET_NAME": variables["BUCKET_NAME"].strip("<>")}  # no id yet
    load({**variables, **bucket, "AWS_LAMBDA_FUNCTION_NAME": "ingest"})
    assert len(json.dumps(variables)) < 4096


def test_defaults_are_those_of_the_settings() -> None:
    variables = _variables(BY_SECRET)
    defaults = {variable.name: variable.default for variable in VARIABLES if variable.default}
    differing = {"TRACING"}  # by hand there is nothing that takes traces
    same = variables.keys() & defaults.keys() - differing
    assert len(same) > 10
    assert {name: variables[name] for name in same} == {name: defaults[name] for name in same}


@pytest.mark.parametrize(("reserve", "places"), [("true", 1), ("false", None)])
def test_the_run_has_a_place_of_its_own_unless_there_is_none_to_spare(
    reserve: str, places: int | None
) -> None:
    function = _function({**BY_SECRET, "ReserveConcurrency": reserve})
    assert function.get("ReservedConcurrentExecutions") == places


def test_the_token_is_never_in_a_variable() -> None:
    secrets = {variable.name for variable in VARIABLES if variable.secret}
    assert "TMDB_ACCESS_TOKEN" in secrets
    for parameters in (BY_SECRET, BY_PARAMETER):
        assert secrets.isdisjoint(_variables(parameters))
    assert "resolve:" not in TEMPLATE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("parameters", "variable", "action", "resource"),
    [
        (BY_SECRET, "TMDB_SECRET_ARN", "secretsmanager:GetSecretValue", SECRET),
        (
            BY_PARAMETER,
            "TMDB_PARAMETER_NAME",
            "ssm:GetParameter",
            "arn:aws:ssm:us-east-1:123456789012:parameter/tmdb/token",
        ),
    ],
)
def test_the_role_reads_the_token_from_where_it_is_and_nothing_else(
    parameters: dict[str, str], variable: str, action: str, resource: str
) -> None:
    both = {"TMDB_SECRET_ARN", "TMDB_PARAMETER_NAME"}
    assert both & _variables(parameters).keys() == {variable}
    allowed = _allowed(parameters)
    about_secrets = {
        each for each in allowed if each.split(":")[0] in {"secretsmanager", "ssm", "kms"}
    }
    assert about_secrets == {action}
    assert allowed[action] == resource
    with_key = _allowed({**parameters, "TmdbTokenKeyArn": KEY})
    assert with_key.keys() - allowed.keys() == {"kms:Decrypt"}
    assert with_key["kms:Decrypt"] == KEY


def test_tracing_is_the_functions_as_well_as_lambdas() -> None:
    for mode, told in (("Active", "true"), ("PassThrough", "false")):
        parameters = {**BY_SECRET, "Tracing": mode}
        assert _function(parameters)["TracingConfig"] == {"Mode": mode}
        assert _variables(parameters)["TRACING"] == told


@pytest.mark.parametrize("level", ["INFO", "CRITICAL"])
def test_lambda_keeps_the_metrics_whatever_the_level(level: str) -> None:
    parameters = {**BY_SECRET, "LogLevel": level}
    logging = _function(parameters)["LoggingConfig"]
    assert logging == {
        "LogFormat": "JSON",
        "LogGroup": "<IngestLogGroup>",
        "ApplicationLogLevel": "INFO",
        "SystemLogLevel": "INFO",
    }
    assert _variables(parameters)["LOG_LEVEL"] == level


# The function, and what it may do


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_function_is_what_the_build_makes(architecture: str) -> None:
    function = _function({**BY_SECRET, "Architecture": architecture})
    assert function["Architectures"] == [architecture]
    build = (REPOSITORY / "package.mk").read_text(encoding="utf-8")
    assert f"PLATFORM.{architecture} := " in build
    assert f"PYTHON_VERSION := {function['Runtime'].removeprefix('python')}" in build
    assert "ARCHITECTURE ?= " + source()["Parameters"]["Architecture"]["Default"] in build
    assert "build-IngestFunction:" in build


@pytest.mark.parametrize("parameters", VARIANTS)
def test_no_role_may_do_whatever_it_wants(parameters: dict[str, str]) -> None:
    roles = Evaluation(parameters).resources("AWS::IAM::Role")
    assert roles.keys() == {"IngestRole", "ScheduleRole"}
    assert not any("ManagedPolicyArns" in role for role in roles.values())
    allowed = _allowed(parameters)
    assert not any("*" in action for action in allowed)
    anywhere = {action for action, resource in allowed.items() if resource == "*"}
    assert anywhere == {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}


@pytest.mark.parametrize("bucket", ["<RawBucket>", "our-lake"])
def test_the_role_reaches_one_prefix_of_one_bucket(bucket: str) -> None:
    parameters = {**(BY_SECRET if bucket == "<RawBucket>" else OWN_BUCKET), "RawZonePath": "in/x"}
    about_s3 = {
        action: resource
        for action, resource in _allowed(parameters).items()
        if action.startswith("s3:")
    }
    objects = f"arn:aws:s3:::{bucket}/in/x/*"
    assert about_s3 == {
        "s3:GetObject": objects,
        "s3:PutObject": objects,
        "s3:DeleteObject": objects,
        "s3:ListBucket": f"arn:aws:s3:::{bucket}",
    }
    [listing] = [each for each in _statements(parameters) if each["Action"] == "s3:ListBucket"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": "in/x/*"}}


# What there is


def test_with_a_bucket_of_ones_own_nothing_of_a_bucket_is_made() -> None:
    ours, own = Evaluation(BY_SECRET), Evaluation(OWN_BUCKET)
    assert ours.resources().keys() - own.resources().keys() == {"RawBucket", "RawBucketPolicy"}
    assert own.resources().keys() <= ours.resources().keys()
    assert "<RawBucket" not in json.dumps([own.resources(), own.outputs()])
    assert own.outputs()["RawBucketName"] == _variables(OWN_BUCKET)["BUCKET_NAME"] == "our-lake"


def test_tables_are_made_of_lines_alone() -> None:
    tables = {"RawDatabase", "MoviesTable", "SeriesTable"}
    for layout, expected in (("json", set()), ("jsonl", tables)):
        found = Evaluation({**BY_SECRET, "OutputFormat": layout})
        assert found.resources().keys() & tables == expected
        names = {"DatabaseName", "MoviesTableName", "SeriesTableName"}
        assert found.outputs().keys() & names == (names if expected else set())


def test_access_is_logged_where_there_is_a_place_for_it() -> None:
    [bucket] = Evaluation(BY_SECRET).resources("AWS::S3::Bucket").values()
    assert "LoggingConfiguration" not in bucket
    logged = {**BY_SECRET, "AccessLogBucketName": "our-logs"}
    [bucket] = Evaluation(logged).resources("AWS::S3::Bucket").values()
    assert bucket["LoggingConfiguration"]["DestinationBucketName"] == "our-logs"


def test_what_holds_data_outlives_the_stack() -> None:
    for name in ("RawBucket", "RawBucketPolicy"):
        resource = transformed()["Resources"][name]
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"


def test_what_tmdb_sent_is_gone_within_180_days() -> None:
    [bucket] = Evaluation(BY_SECRET).resources("AWS::S3::Bucket").values()
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    terms = rules["tmdb-terms"]
    assert terms["Prefix"] == _variables(BY_SECRET)["RAW_ZONE_PATH"] + "/"
    # S3 rounds each of the two up to the next midnight.
    days = (
        int(terms["ExpirationInDays"]) + 1 + terms["NoncurrentVersionExpiration"]["NoncurrentDays"]
    )
    assert days + 1 <= 180
    assert source()["Parameters"]["RawDataExpirationDays"]["MaxValue"] <= 180
    assert rules["leftovers"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_whatever_has_a_name_is_an_output() -> None:
    evaluation = Evaluation({**BY_SECRET, "OutputFormat": "jsonl"})
    told = set(evaluation.outputs().values())
    unnamed = {"Policy", "Subscription", "Alarm", "EventInvokeConfig", "BucketPolicy"}
    kinds = {name: each["Type"] for name, each in transformed()["Resources"].items()}
    expected = {
        f"<{name}>"
        for name in evaluation.resources()
        if not any(kinds[name].endswith(each) for each in unnamed)
    }
    assert expected <= told


# Alarms


def test_every_alarm_tells_somebody_and_is_on_the_dashboard() -> None:
    evaluation = Evaluation(BY_SECRET)
    alarms = evaluation.resources("AWS::CloudWatch::Alarm")
    assert len(alarms) == 7
    assert all(alarm["AlarmActions"] == ["<AlarmTopic>"] for alarm in alarms.values())
    body = json.loads(
        evaluation.resources("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]
    )
    shown = [widget["properties"].get("alarms", []) for widget in body["widgets"]]
    assert set(itertools.chain(*shown)) == {f"<{name}.Arn>" for name in alarms}


@pytest.mark.parametrize("name", ["MoviesMissing", "SeriesMissing"])
def test_a_partition_is_missed_after_26_hours(name: str) -> None:
    alarm = Evaluation(BY_SECRET).resources("AWS::CloudWatch::Alarm")[name]
    [query] = [query for query in alarm["Metrics"] if "MetricStat" in query]
    period_s = query["MetricStat"]["Period"]
    looked_at = timedelta(seconds=period_s * alarm["EvaluationPeriods"])
    assert looked_at == timedelta(hours=26)
    assert alarm["DatapointsToAlarm"] == alarm["EvaluationPeriods"]
    # PutMetricAlarm takes no more: a day, and with periods of an hour or more seven days.
    assert period_s >= 3600
    assert looked_at <= timedelta(days=7)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["TreatMissingData"] == "breaching"


def test_a_run_near_its_timeout_is_told_of_before_it_is_over() -> None:
    timeout_ms = _function(BY_SECRET)["Timeout"] * 1000
    alarm = Evaluation(BY_SECRET).resources("AWS::CloudWatch::Alarm")["RunsNearTimeout"]
    assert alarm["Threshold"] == timeout_ms * 4 / 5


def test_runs_that_are_retried_are_still_wanted() -> None:
    """Three tries of the longest run, and Lambda's waits of one and two minutes between them."""
    config = Evaluation(BY_SECRET).resources("AWS::Lambda::EventInvokeConfig")
    [retrying] = config.values()
    tries = retrying["MaximumRetryAttempts"] + 1
    longest = tries * _function(BY_SECRET)["Timeout"] + 60 + 120
    assert longest < retrying["MaximumEventAgeInSeconds"]
