"""What template.yaml has for backfills and transfers, and only where it is asked for."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from cloudformation import Evaluation, source
from ingest.remote.sharing import share
from ingest.settings import VARIABLES, load
from ingest.settings.remote import STATE_MACHINE_VARIABLES, TARGET_VARIABLES, load_target
from policies import Call, allows, listed
from stack import large_stack
from support import REPOSITORY

if TYPE_CHECKING:
    from stack import Stack
    from support import S3Server

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tmdb-AbCdEf"
KEY = "arn:aws:secretsmanager:us-east-1:123456789012:secret:store-AbCdEf"
PLAIN = {"TmdbSecretArn": SECRET}
LARGE = {**PLAIN, "LargeJobs": "true"}
ELSEWHERE = {
    **LARGE,
    "TransferTargetEndpoint": "https://store.example.org",
    "TransferTargetSecretArn": KEY,
}
WHERE = "us-east-1:123456789012"


@pytest.fixture(scope="module")
def stack(moto_server: S3Server) -> Stack:
    return large_stack(moto_server, "tmdb-large")


def _worker(parameters: dict[str, str]) -> dict[str, Any]:
    return Evaluation(parameters).resources("AWS::Lambda::Function")["WorkerFunction"]


def _definition(name: str) -> dict[str, Any]:
    path = REPOSITORY / "statemachine" / f"{name}.asl.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


# What there is


def test_nothing_of_it_is_there_unless_it_is_asked_for() -> None:
    without, with_it = Evaluation(PLAIN), Evaluation(LARGE)
    assert "Worker" not in json.dumps([without.resources(), without.outputs()])
    assert "StateMachine" not in json.dumps([without.resources(), without.outputs()])
    more = with_it.resources().keys() - without.resources().keys()
    assert more == {
        *("WorkerFunction", "WorkerLogGroup", "WorkerRole", "ExecutionLogGroup"),
        *("BackfillStateMachine", "BackfillRole", "TransferStateMachine", "TransferRole"),
        *("BackfillsFailed", "TransfersFailed", "LargeJobsTimedOut"),
    }
    assert with_it.resources()["IngestFunction"] == without.resources()["IngestFunction"]


def test_the_command_finds_the_arns_in_the_outputs() -> None:
    outputs = Evaluation(LARGE).template["Outputs"]
    named = [variable.name for variable in STATE_MACHINE_VARIABLES if "ARN" in variable.name]
    told = [output["Description"] for output in outputs.values()]
    assert all(any(name in each for each in told) for name in named)
    for output in ("BackfillStateMachineArn", "TransferStateMachineArn"):
        assert Evaluation(LARGE).outputs()[output]


def test_an_endpoint_comes_with_its_key_or_not_at_all() -> None:
    assert Evaluation(ELSEWHERE).refusals() == []
    for missing in ("TransferTargetEndpoint", "TransferTargetSecretArn"):
        part = {name: value for name, value in ELSEWHERE.items() if name != missing}
        assert len(Evaluation(part).refusals()) == 1


def test_every_alarm_is_on_the_dashboard() -> None:
    evaluation = Evaluation(LARGE)
    alarms = evaluation.resources("AWS::CloudWatch::Alarm")
    body = json.loads(
        evaluation.resources("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]
    )
    shown = [widget["properties"].get("alarms", []) for widget in body["widgets"]]
    assert set(itertools.chain(*shown)) == {f"<{name}.Arn>" for name in alarms}
    assert all(alarm["AlarmActions"] == ["<AlarmTopic>"] for alarm in alarms.values())


# The function


def test_the_worker_is_the_same_code_with_the_same_settings() -> None:
    functions = Evaluation(LARGE).resources("AWS::Lambda::Function")
    daily, worker = functions["IngestFunction"], functions["WorkerFunction"]
    for name in ("Handler", "Runtime", "Architectures", "TracingConfig"):
        assert worker[name] == daily[name]
    variables = worker["Environment"]["Variables"]
    assert variables.items() >= daily["Environment"]["Variables"].items()
    assert variables.keys() - daily["Environment"]["Variables"].keys() == {"TMDB_RATE"}
    build = (REPOSITORY / "package.mk").read_text(encoding="utf-8")
    assert "build-WorkerFunction: build-IngestFunction" in build


def test_the_worker_takes_the_variables_it_is_given() -> None:
    variables = _worker({**ELSEWHERE, "BackfillRate": "35"})["Environment"]["Variables"]
    known = {variable.name for variable in (*VARIABLES, *TARGET_VARIABLES)}
    assert {name for name in variables if not name.startswith("POWERTOOLS_")} <= known
    bucket = {"BUCKET_NAME": variables["BUCKET_NAME"].strip("<>")}
    settings = load({**variables, **bucket, "AWS_LAMBDA_FUNCTION_NAME": "worker"})
    assert settings.rate == 35
    target = load_target(variables)
    assert target
    assert target.endpoint_url == "https://store.example.org"
    assert target.kept_secret
    assert target.kept_secret.name == KEY
    assert load_target(_worker(LARGE)["Environment"]["Variables"]) is None
    assert source()["Parameters"]["BackfillRate"]["MaxValue"] == 50


def test_the_children_of_both_maps_find_room_at_once() -> None:
    children = share(1_000, 50).children
    objects = _definition("transfer")["States"]["Objects"]
    room = _worker({**LARGE, "ReserveConcurrency": "true"})["ReservedConcurrentExecutions"]
    assert children + objects["MaxConcurrency"] < room


@pytest.mark.parametrize("name", ["backfill", "transfer"])
def test_a_task_waits_longer_than_the_function_may_take(name: str) -> None:
    """Else the one that is repeated would overlap with the one that goes on."""
    timeout = _worker(LARGE)["Timeout"]
    tasks = _tasks(_definition(name))
    assert len(tasks) == 3 if name == "backfill" else 2
    assert all(task["TimeoutSeconds"] > timeout for task in tasks)


def _tasks(part: Any) -> list[dict[str, Any]]:
    if isinstance(part, list):
        return [task for each in part for task in _tasks(each)]
    if not isinstance(part, dict):
        return []
    here = [part] if part.get("Type") == "Task" else []
    return here + [task for each in part.values() for task in _tasks(each)]


# What the roles may do


def test_no_role_may_do_whatever_it_wants() -> None:
    evaluation = Evaluation({**ELSEWHERE, "TransferSourceBucketName": "from"})
    roles = evaluation.resources("AWS::IAM::Role")
    assert not any("ManagedPolicyArns" in role for role in roles.values())
    statements = [
        statement
        for role in roles.values()
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    actions = {each: "" for one in statements for each in listed(one["Action"])}
    assert not any("*" in action for action in actions)
    anywhere = {
        action for one in statements if one["Resource"] == "*" for action in listed(one["Action"])
    }
    assert {action.partition(":")[0] for action in anywhere} == {"logs", "xray"}


def test_the_state_machines_assume_their_own_roles_alone(stack: Stack) -> None:
    for kind in ("Backfill", "Transfer"):
        role = stack.client("iam").get_role(RoleName=stack.outputs[f"{kind}RoleName"])["Role"]
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "states.amazonaws.com"}
        assert statement["Condition"] == {
            "StringEquals": {"aws:SourceAccount": "123456789012"},
            "ArnLike": {"aws:SourceArn": stack.outputs[f"{kind}StateMachineArn"]},
        }
        machine = stack.client("stepfunctions").describe_state_machine(
            stateMachineArn=stack.outputs[f"{kind}StateMachineArn"]
        )
        assert machine["roleArn"] == role["Arn"]
        assert machine["tracingConfiguration"] == {"enabled": True}
        assert machine["loggingConfiguration"]["level"] == "ERROR"


@pytest.mark.parametrize("kind", ["Backfill", "Transfer"])
def test_a_state_machine_runs_its_own_children_with_this_function(stack: Stack, kind: str) -> None:
    granted = stack.policies(f"{kind}Role")
    arn = stack.outputs[f"{kind}StateMachineArn"]
    function = f"arn:aws:lambda:{WHERE}:function:{stack.outputs['WorkerFunctionName']}"
    label = _definition(kind.lower())["States"]
    [map_state] = [state for state in label.values() if state["Type"] == "Map"]
    children = arn.replace(":stateMachine:", ":execution:")
    child = f"{children}/{map_state['Label']}:1b2c"
    assert allows(granted, Call("states:StartExecution", arn))
    for action in ("DescribeExecution", "StopExecution", "RedriveExecution"):
        assert allows(granted, Call(f"states:{action}", child))
        assert not allows(granted, Call(f"states:{action}", child.replace("tmdb-large", "other")))
    assert allows(granted, Call("lambda:InvokeFunction", function))
    daily = f"arn:aws:lambda:{WHERE}:function:{stack.outputs['IngestFunctionName']}"
    assert not allows(granted, Call("lambda:InvokeFunction", daily))
    assert not allows(granted, Call("states:StartExecution", arn + "-2"))
    assert not allows(granted, Call("states:DeleteStateMachine", arn))


def test_readers_and_writers_reach_what_they_read_and_write(stack: Stack) -> None:
    lake = f"arn:aws:s3:::{stack.outputs['RawBucketName']}"
    backfill, transfer = stack.policies("BackfillRole"), stack.policies("TransferRole")
    assert allows(backfill, Call("s3:GetObject", f"{lake}/_plans/a.json"))
    assert not allows(backfill, Call("s3:PutObject", f"{lake}/_plans/a.json"))
    assert not allows(backfill, Call("s3:GetObject", f"{lake}/raw/TMDB/JSON/Movies/x"))
    assert allows(transfer, Call("s3:ListBucket", "arn:aws:s3:::tmdb-large-from"))
    assert not allows(transfer, Call("s3:ListBucket", "arn:aws:s3:::tmdb-large-to"))
    assert not allows(transfer, Call("s3:GetObject", "arn:aws:s3:::tmdb-large-from/a"))
    for granted, name in ((backfill, "backfill"), (transfer, "transfer")):
        state = next(each for each in _definition(name)["States"].values() if each["Type"] == "Map")
        prefix = state["ResultWriter"]["Parameters"]["Prefix"]
        assert allows(granted, Call("s3:PutObject", f"{lake}/{prefix}/1/manifest.json"))
        other = "transfer" if name == "backfill" else "backfill"
        assert not allows(granted, Call("s3:PutObject", f"{lake}/_runs/{other}/1/manifest.json"))


def test_the_worker_reaches_the_lake_and_the_two_buckets(stack: Stack) -> None:
    granted = stack.policies("WorkerRole")
    lake = f"arn:aws:s3:::{stack.outputs['RawBucketName']}"
    for key in ("raw/TMDB/JSON/MoviesBackfill/plan=1/a.json", "_plans/a.json"):
        for action in ("s3:GetObject", "s3:PutObject"):
            assert allows(granted, Call(action, f"{lake}/{key}"))
    assert not allows(granted, Call("s3:PutObject", f"{lake}/_runs/backfill/x"))
    start, end = "arn:aws:s3:::tmdb-large-from", "arn:aws:s3:::tmdb-large-to"
    assert allows(granted, Call("s3:GetObject", f"{start}/a"))
    assert not allows(granted, Call("s3:PutObject", f"{start}/a"))
    assert allows(granted, Call("s3:PutObject", f"{end}/a"))
    assert not allows(granted, Call("s3:DeleteObject", f"{end}/a"))
    assert allows(granted, Call("s3:ListBucket", start))
    assert allows(granted, Call("s3:ListBucket", end))
    for name in ("TmdbSecretArn", "TransferTargetSecretArn"):
        assert allows(granted, Call("secretsmanager:GetSecretValue", stack.parameters[name]))
    assert not allows(granted, Call("secretsmanager:GetSecretValue", SECRET))
    daily = stack.policies("IngestRole")
    assert not allows(daily, Call("s3:PutObject", f"{lake}/_plans/a.json"))


def test_without_buckets_named_transfers_stay_in_the_raw_zone() -> None:
    policies = Evaluation(LARGE).resources("AWS::IAM::Policy")
    assert policies.keys() == {"SecretPolicy"}
    assert policies["SecretPolicy"]["Roles"] == ["<IngestRole>", "<WorkerRole>"]


def test_failures_of_either_are_told(stack: Stack) -> None:
    alarms = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack.name}-")
    watched = {}
    for alarm in alarms["MetricAlarms"]:
        queries = [
            query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query
        ]
        for metric in queries or [alarm]:
            for each in metric["Dimensions"]:
                if each["Name"] == "StateMachineArn":
                    watched.setdefault(each["Value"], set()).add(metric["MetricName"])
        assert alarm["AlarmActions"] == [stack.outputs["AlarmTopicArn"]]
    both = {"ExecutionsFailed", "ExecutionsTimedOut"}
    assert watched == {
        stack.outputs["BackfillStateMachineArn"]: both,
        stack.outputs["TransferStateMachineArn"]: both,
    }
