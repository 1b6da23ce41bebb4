"""The stack of template.yaml, made in moto and looked up there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from policies import Call, allows
from stack import other_stack, usual_stack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stack import Stack
    from support import S3Server

ONLY_TLS = {"Bool": {"aws:SecureTransport": "false"}}


@pytest.fixture(scope="module")
def stack(moto_server: S3Server) -> Stack:
    return usual_stack(moto_server, "tmdb-ingest")


@pytest.fixture(scope="module")
def other(moto_server: S3Server) -> Stack:
    return other_stack(moto_server, "tmdb-lines")


def test_the_bucket_is_private_versioned_and_forgets(stack: Stack) -> None:
    s3, bucket = stack.client("s3"), stack.outputs["RawBucketName"]
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    [rule] = encryption["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert list(blocked.values()) == [True] * 4
    owned = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert owned == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    _check_only_tls(policy, f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*")
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    expiring, leftovers = sorted(rules, key=lambda rule: rule["ID"] == "leftovers")
    assert expiring["Filter"] == {"Prefix": "raw/TMDB/JSON/"}
    assert expiring["Expiration"]["Days"] <= 180
    assert expiring["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert leftovers["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert {rule["Status"] for rule in rules} == {"Enabled"}


def _check_only_tls(policy: Mapping[str, Any], *resources: str) -> None:
    [denied] = [each for each in policy["Statement"] if each["Effect"] == "Deny"]
    assert denied["Principal"] == "*"
    found = denied["Resource"]
    assert set(found if isinstance(found, list) else [found]) == set(resources)
    assert denied["Condition"] == ONLY_TLS


@pytest.mark.parametrize("output", ["FailedRunsUrl", "UndeliveredEventsUrl"])
def test_the_queues_are_encrypted_and_keep_what_failed_for_two_weeks(
    stack: Stack, output: str
) -> None:
    sqs, url = stack.client("sqs"), stack.outputs[output]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert found["SqsManagedSseEnabled"] == "true"
    assert int(found["MessageRetentionPeriod"]) == 14 * 86_400
    _check_only_tls(json.loads(found["Policy"]), found["QueueArn"])


def test_the_function_runs_alone_and_says_where_it_failed(stack: Stack) -> None:
    functions, name = stack.client("lambda"), stack.outputs["IngestFunctionName"]
    found = functions.get_function_configuration(FunctionName=name)
    assert found["FunctionArn"] == stack.outputs["IngestFunctionArn"]
    assert (found["Runtime"], found["Handler"]) == ("python3.13", "handler.lambda_handler")
    assert (found["MemorySize"], found["Timeout"]) == (512, 300)
    assert found["Role"].endswith(f"role/{stack.outputs['IngestRoleName']}")
    alone = functions.get_function_concurrency(FunctionName=name)
    assert alone["ReservedConcurrentExecutions"] == 1
    invoked = functions.get_function_event_invoke_config(FunctionName=name, Qualifier="$LATEST")
    assert invoked["MaximumRetryAttempts"] == 2
    [queue] = invoked["DestinationConfig"]["OnFailure"].values()
    assert queue == _arn_of(stack, "FailedRunsUrl")


def _arn_of(stack: Stack, output: str) -> str:
    found = stack.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs[output], AttributeNames=["QueueArn"]
    )
    arn: str = found["Attributes"]["QueueArn"]
    return arn


def test_the_log_is_the_stacks_own_and_does_not_last(stack: Stack) -> None:
    name = stack.outputs["IngestLogGroupName"]
    groups = stack.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    found = {group["logGroupName"]: group["retentionInDays"] for group in groups}
    assert found == {name: 30}
    logging = stack.evaluation.resources("AWS::Lambda::Function")["IngestFunction"]
    assert logging["LoggingConfig"]["LogGroup"] == name


def test_the_schedule_invokes_the_function_and_gives_up_into_a_queue(stack: Stack) -> None:
    found = stack.schedule()
    assert found["ScheduleExpression"] == "cron(0 6 * * ? *)"
    assert found["ScheduleExpressionTimezone"] == "UTC"
    assert found["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert found["State"] == "ENABLED"
    target = found["Target"]
    assert target["Arn"] == stack.outputs["IngestFunctionArn"]
    assert target["RoleArn"].endswith(f"role/{stack.outputs['ScheduleRoleName']}")
    assert target["RetryPolicy"] == {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600}
    assert target["DeadLetterConfig"] == {"Arn": _arn_of(stack, "UndeliveredEventsUrl")}


def test_each_role_is_for_one_service_alone(stack: Stack) -> None:
    iam = stack.client("iam")
    trusted = {}
    for output in ("IngestRoleName", "ScheduleRoleName"):
        role = iam.get_role(RoleName=stack.outputs[output])["Role"]
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        trusted[statement["Principal"]["Service"]] = statement.get("Condition")
    group = stack.client("scheduler").get_schedule_group(Name=stack.outputs["ScheduleGroupName"])
    assert trusted == {
        "lambda.amazonaws.com": None,
        "scheduler.amazonaws.com": {
            "StringEquals": {"aws:SourceAccount": "123456789012"},
            "ArnEquals": {"aws:SourceArn": group["Arn"]},
        },
    }


def test_the_schedules_role_does_what_the_schedule_does_and_no_more(stack: Stack) -> None:
    granted = stack.policies("ScheduleRole")
    target = stack.schedule()["Target"]
    queue = target["DeadLetterConfig"]["Arn"]
    assert allows(granted, Call("lambda:InvokeFunction", target["Arn"]))
    assert allows(granted, Call("sqs:SendMessage", queue))
    assert not allows(granted, Call("lambda:InvokeFunction", target["Arn"] + "-2"))
    assert not allows(granted, Call("lambda:UpdateFunctionCode", target["Arn"]))
    assert not allows(granted, Call("sqs:SendMessage", _arn_of(stack, "FailedRunsUrl")))
    assert not allows(granted, Call("sqs:ReceiveMessage", queue))


def test_alarms_watch_what_is_there_and_tell_the_topic(stack: Stack) -> None:
    alarms = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack.name}-")
    watched = {}
    for alarm in alarms["MetricAlarms"]:
        assert alarm["AlarmActions"] == [stack.outputs["AlarmTopicArn"]]
        assert alarm["ActionsEnabled"]
        queries = [query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query]
        metric = queries[0]["Metric"] if queries else alarm
        dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        name = alarm["AlarmName"].removeprefix(f"{stack.name}-")
        watched[name] = (metric["Namespace"], metric["MetricName"], dimensions)
    of_service = {"service": "ingest"}
    of_function = {"FunctionName": stack.outputs["IngestFunctionName"]}
    waiting = "ApproximateNumberOfMessagesVisible"
    assert watched == {
        "RunsFailed": ("AWS/Lambda", "Errors", of_function),
        "RunsThrottled": ("AWS/Lambda", "Throttles", of_function),
        "RunsNearTimeout": ("AWS/Lambda", "Duration", of_function),
        "RunsGivenUp": ("AWS/SQS", waiting, {"QueueName": _queue(stack, "FailedRunsUrl")}),
        "EventsUndelivered": (
            "AWS/SQS",
            waiting,
            {"QueueName": _queue(stack, "UndeliveredEventsUrl")},
        ),
        "MoviesMissing": ("TmdbIngest", "PartitionsLanded", {**of_service, "dataset": "movies"}),
        "SeriesMissing": ("TmdbIngest", "PartitionsLanded", {**of_service, "dataset": "series"}),
    }


def _queue(stack: Stack, output: str) -> str:
    return str(stack.outputs[output]).rpartition("/")[2]


def test_only_alarms_of_the_stack_can_publish_and_somebody_is_told(stack: Stack) -> None:
    sns, topic = stack.client("sns"), stack.outputs["AlarmTopicArn"]
    policy = json.loads(sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])
    _check_only_tls(policy, topic)
    [allowed] = [each for each in policy["Statement"] if each["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    pattern = allowed["Condition"]["ArnLike"]["aws:SourceArn"]
    alarms = stack.client("cloudwatch").describe_alarms()["MetricAlarms"]
    for alarm in alarms:
        ours = alarm["AlarmName"].startswith(f"{stack.name}-")
        assert alarm["AlarmArn"].startswith(pattern.removesuffix("*")) == ours
    [told] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert (told["Protocol"], told["Endpoint"]) == ("email", "a@example.org")


def test_with_a_bucket_that_is_there_already_nothing_of_it_is_changed(other: Stack) -> None:
    s3, bucket = other.client("s3"), other.parameters["ExistingBucketName"]
    assert other.outputs["RawBucketName"] == bucket
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    topic = other.outputs["AlarmTopicArn"]
    assert other.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def test_tables_are_in_a_database_of_the_stack(other: Stack) -> None:
    glue, database = other.client("glue"), other.outputs["DatabaseName"]
    assert database == "tmdb_lines"
    tables = glue.get_tables(DatabaseName=database)["TableList"]
    assert {table["Name"] for table in tables} == {
        other.outputs["MoviesTableName"],
        other.outputs["SeriesTableName"],
    }
    for table in tables:
        assert table["StorageDescriptor"]["Location"].startswith(other.outputs["RawZone"])
        assert table["Parameters"]["projection.enabled"] == "true"
