"""The stack of template.yaml in moto.

What moto's CloudFormation knows is made by ``create_stack``. The rest, and the properties of a
bucket that it passes over, go through the service's own API, as CloudFormation would call it.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3

from cloudformation import CODE, PSEUDO, Evaluation, transformed
from ingest.sandbox import SANDBOX_TOKEN
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from support import S3Server

Properties = dict[str, Any]

KNOWN = (
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
)
"""What ``create_stack`` makes. Other types it would pass over without a word."""


def client(server: S3Server, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key.access_key_id,
        aws_secret_access_key=server.access_key.secret_access_key,
        region_name=PSEUDO["AWS::Region"],
    )


@contextmanager
def _no_profile() -> Iterator[None]:
    """Keep out a profile of whoever runs the tests, from us as well as from moto.

    What is made for a whole module is made before a test's own environment is.
    """
    with mock.patch.dict(os.environ):
        os.environ.pop("AWS_PROFILE", None)
        yield


@_no_profile()
def usual_stack(server: S3Server, name: str) -> Stack:
    """As most would deploy it: the token in Secrets Manager, an address for alarms."""
    secrets = client(server, "secretsmanager")
    secret = secrets.create_secret(Name=f"{name}-token", SecretString=SANDBOX_TOKEN)
    return deploy(server, name, TmdbSecretArn=secret["ARN"], AlarmEmail="a@example.org")


@_no_profile()
def other_stack(server: S3Server, name: str) -> Stack:
    """All the other ways: a parameter, a bucket that is there, lines, few, details, gzip."""
    token, bucket = f"/{name}/token", f"{name}-lake"
    client(server, "ssm").put_parameter(Name=token, Value=SANDBOX_TOKEN, Type="SecureString")
    client(server, "s3").create_bucket(Bucket=bucket)
    return deploy(
        server,
        name,
        TmdbParameterName=token,
        ExistingBucketName=bucket,
        RawZonePath="landing/tmdb",
        OutputFormat="jsonl",
        OutputCompression="gzip",
        TmdbDetails="true",
        TmdbMaxRecords="5",
        Tracing="PassThrough",
    )


@_no_profile()
def large_stack(server: S3Server, name: str) -> Stack:
    """With the state machines, between two buckets, and another store to copy to."""
    secrets = client(server, "secretsmanager")
    secret = secrets.create_secret(Name=f"{name}-token", SecretString=SANDBOX_TOKEN)
    key = secrets.create_secret(Name=f"{name}-key", SecretString="{}")
    return deploy(
        server,
        name,
        TmdbSecretArn=secret["ARN"],
        LargeJobs="true",
        TransferSourceBucketName=f"{name}-from",
        TransferTargetBucketName=f"{name}-to",
        TransferTargetEndpoint="https://store.example.org",
        TransferTargetSecretArn=key["ARN"],
    )


def deploy(server: S3Server, name: str, **parameters: str) -> Stack:
    """Make the stack ``name`` in moto."""
    assert Evaluation(parameters).refusals() == []
    s3 = client(server, "s3")
    s3.create_bucket(Bucket=CODE["Bucket"])
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("handler.py", "")
    s3.put_object(**CODE, Body=code.getvalue())
    stack = Stack(server, name, parameters)
    client(server, "cloudformation").create_stack(
        StackName=name,
        TemplateBody=json.dumps(_known_part(name)),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    for kind, make in _MAKERS.items():
        for logical, properties in stack.evaluation.resources(kind).items():
            make(stack, logical, properties)
    return stack


def _known_part(name: str) -> dict[str, Any]:
    """The template without what moto does not know, whose names and ARNs are filled in."""
    template = transformed()
    kinds = {logical: part["Type"] for logical, part in template["Resources"].items()}
    known = {
        logical: part for logical, part in template["Resources"].items() if part["Type"] in KNOWN
    }

    def filled(node: Any) -> Any:
        if isinstance(node, list):
            return [filled(each) for each in node]
        if isinstance(node, str):
            return re.sub(r"\$\{(\w+)\.Arn\}", lambda match: _arn_in(match[0], match[1]), node)
        if not isinstance(node, dict):
            return node
        if "Fn::GetAtt" in node and kinds[node["Fn::GetAtt"][0]] not in KNOWN:
            return _arn(name, node["Fn::GetAtt"][0])
        return {key: filled(each) for key, each in node.items()}

    def _arn_in(text: str, logical: str) -> str:
        return text if kinds[logical] in KNOWN else _arn(name, logical)

    return {**template, "Resources": filled(known), "Outputs": {}}


def _arn(stack: str, logical: str) -> str:
    """The ARN of what ``create_stack`` does not make."""
    kind = transformed()["Resources"][logical]["Type"]
    resource = {
        "AWS::CloudWatch::Alarm": f"cloudwatch:{{region}}:{{account}}:alarm:{stack}-{logical}",
        "AWS::Scheduler::ScheduleGroup": f"scheduler:{{region}}:{{account}}:schedule-group/{stack}",
        "AWS::StepFunctions::StateMachine": f"states:{{region}}:{{account}}:stateMachine:{stack}-"
        + logical.removesuffix("StateMachine").lower(),
    }[kind]
    return "arn:aws:" + resource.format(
        region=PSEUDO["AWS::Region"], account=PSEUDO["AWS::AccountId"]
    )


@dataclass(frozen=True)
class Stack:
    """A stack that has been made, or is being made."""

    server: S3Server
    name: str
    parameters: Mapping[str, str]

    def client(self, service: str) -> Any:
        return client(self.server, service)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The template with the names that everything has got."""
        return Evaluation(self.parameters, stack=self.name, ids=self.ids, attribute=self._attribute)

    @cached_property
    def ids(self) -> dict[str, str]:
        """The name of each resource, by its logical id."""
        made = self.client("cloudformation").describe_stack_resources(StackName=self.name)
        ids = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in made["StackResources"]
            if each.get("PhysicalResourceId")  # moto lists what has not been made as well
        }
        named = Evaluation(self.parameters, stack=self.name)
        for kind, name_of in _NAMES.items():
            found = named.resources(kind)
            ids |= {logical: name_of(properties) for logical, properties in found.items()}
        return ids

    @cached_property
    def outputs(self) -> dict[str, Any]:
        return self.evaluation.outputs()

    def schedule(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client("scheduler").get_schedule(
            Name=self.outputs["ScheduleName"], GroupName=self.outputs["ScheduleGroupName"]
        )
        return found

    def policies(self, role: str) -> list[Any]:
        """Every policy document of a role, by the role's logical id."""
        iam, name = self.client("iam"), self.ids[role]
        assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
        documents = [
            iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
        ]
        # Moto keeps those that came with the role as Python would write them.
        return [
            ast.literal_eval(document) if isinstance(document, str) else document
            for document in documents
        ]

    def _attribute(self, logical: str, attribute: str) -> str:
        kind = transformed()["Resources"][logical]["Type"]
        if kind not in KNOWN:
            assert attribute == "Arn"
            return _arn(self.name, logical)
        physical = self.ids[logical]
        where = f"{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}"
        return {
            ("AWS::IAM::Role", "Arn"): f"arn:aws:iam::{PSEUDO['AWS::AccountId']}:role/{physical}",
            ("AWS::Lambda::Function", "Arn"): f"arn:aws:lambda:{where}:function:{physical}",
            ("AWS::Logs::LogGroup", "Arn"): f"arn:aws:logs:{where}:log-group:{physical}:*",
            ("AWS::S3::Bucket", "Arn"): f"arn:aws:s3:::{physical}",
            ("AWS::SQS::Queue", "Arn"): f"arn:aws:sqs:{where}:{physical.rpartition('/')[2]}",
            ("AWS::SQS::Queue", "QueueName"): physical.rpartition("/")[2],
        }[kind, attribute]


def _machine_arn(properties: Properties) -> str:
    where = f"{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}"
    return f"arn:aws:states:{where}:stateMachine:{properties['StateMachineName']}"


_NAMES: Mapping[str, Callable[[Properties], str]] = {
    "AWS::Scheduler::ScheduleGroup": itemgetter("Name"),
    "AWS::Scheduler::Schedule": itemgetter("Name"),
    "AWS::Glue::Database": lambda properties: properties["DatabaseInput"]["Name"],
    "AWS::StepFunctions::StateMachine": _machine_arn,
    "AWS::Glue::Table": lambda properties: properties["TableInput"]["Name"],
}
"""What ``Ref`` returns of types that ``create_stack`` does not make."""


def _bucket(stack: Stack, logical: str, properties: Properties) -> None:
    """What moto's ``create_stack`` leaves out: it knows of encryption alone."""
    s3, bucket = stack.client("s3"), stack.ids[logical]
    rest = {name: value for name, value in properties.items() if name != "BucketEncryption"}
    setters = {
        "PublicAccessBlockConfiguration": s3.put_public_access_block,
        "OwnershipControls": s3.put_bucket_ownership_controls,
        "VersioningConfiguration": s3.put_bucket_versioning,
        "LifecycleConfiguration": s3.put_bucket_lifecycle_configuration,
        "BucketLoggingStatus": s3.put_bucket_logging,
    }
    if "LoggingConfiguration" in rest:
        target = rest.pop("LoggingConfiguration")
        rest["BucketLoggingStatus"] = {
            "LoggingEnabled": {
                "TargetBucket": target["DestinationBucketName"],
                "TargetPrefix": target["LogFilePrefix"],
            }
        }
    rules = rest["LifecycleConfiguration"]["Rules"]
    rest["LifecycleConfiguration"] = {"Rules": [_lifecycle_rule(rule) for rule in rules]}
    for name, value in rest.items():
        setters[name](Bucket=bucket, **{name: value})


def _lifecycle_rule(rule: Properties) -> Properties:
    """A rule as S3 has it: CloudFormation names a few things differently."""
    same = ("Status", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    expiration = {
        "Days": int(rule["ExpirationInDays"]) if "ExpirationInDays" in rule else None,
        "ExpiredObjectDeleteMarker": rule.get("ExpiredObjectDeleteMarker"),
    }
    assert rule.keys() <= {*same, "Id", "Prefix", "ExpirationInDays", "ExpiredObjectDeleteMarker"}
    return {
        "ID": rule["Id"],
        "Filter": {"Prefix": rule.get("Prefix", "")},
        "Expiration": {name: value for name, value in expiration.items() if value is not None},
        **{name: rule[name] for name in same if name in rule},
    }


def _bucket_policy(stack: Stack, _: str, properties: Properties) -> None:
    policy = json.dumps(properties["PolicyDocument"])
    stack.client("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=policy)


def _queue_policy(stack: Stack, _: str, properties: Properties) -> None:
    policy = {"Policy": json.dumps(properties["PolicyDocument"])}
    for queue in properties["Queues"]:
        stack.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes=policy)


def _topic_policy(stack: Stack, _: str, properties: Properties) -> None:
    policy = json.dumps(properties["PolicyDocument"])
    for topic in properties["Topics"]:
        stack.client("sns").set_topic_attributes(
            TopicArn=topic, AttributeName="Policy", AttributeValue=policy
        )


def _alarm(stack: Stack, logical: str, properties: Properties) -> None:
    stack.client("cloudwatch").put_metric_alarm(AlarmName=f"{stack.name}-{logical}", **properties)


def _schedule(stack: Stack, _: str, properties: Properties) -> None:
    stack.client("scheduler").create_schedule(**properties)


def _state_machine(stack: Stack, logical: str, properties: Properties) -> None:
    """What CloudFormation makes of a definition that `sam package` has put into a bucket."""
    text = (REPOSITORY / properties["DefinitionS3Location"]["Key"]).read_text(encoding="utf-8")
    for name, value in properties["DefinitionSubstitutions"].items():
        text = text.replace("${" + name + "}", value)
    made = stack.client("stepfunctions").create_state_machine(
        name=properties["StateMachineName"],
        definition=text,
        roleArn=properties["RoleArn"],
        type=properties["StateMachineType"],
        loggingConfiguration=_lower(properties["LoggingConfiguration"]),
        tracingConfiguration=_lower(properties["TracingConfiguration"]),
    )
    assert made["stateMachineArn"] == stack.ids[logical]


def _lower(part: Any) -> Any:
    """The names of CloudFormation's as the service has them."""
    if isinstance(part, list):
        return [_lower(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {name[0].lower() + name[1:]: _lower(value) for name, value in part.items()}


_MAKERS = {
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::SNS::TopicPolicy": _topic_policy,
    "AWS::SNS::Subscription": lambda stack, _, it: stack.client("sns").subscribe(**it),
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::Lambda::EventInvokeConfig": lambda stack, _, it: stack.client(
        "lambda"
    ).put_function_event_invoke_config(**it),
    "AWS::Scheduler::ScheduleGroup": lambda stack, _, it: stack.client(
        "scheduler"
    ).create_schedule_group(**it),
    "AWS::Scheduler::Schedule": _schedule,
    "AWS::Glue::Database": lambda stack, _, it: stack.client("glue").create_database(**it),
    "AWS::Glue::Table": lambda stack, _, it: stack.client("glue").create_table(**it),
    "AWS::StepFunctions::StateMachine": _state_machine,
}
