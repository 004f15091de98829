"""Patches moto where it differs from AWS."""

import itertools
import json

from moto.cloudformation import parsing
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_aws_sdk


def before_puts(observe):
    """Calls `observe` before each putObject of a flow, with its number from 1."""
    make_client, counts = state_task_service_aws_sdk.boto_client_for, itertools.count(1)

    def client(*arguments, **named):
        made = make_client(*arguments, **named)
        made.meta.events.register("provide-client-params.s3.PutObject", lambda **_: observe(next(counts)))
        return made

    state_task_service_aws_sdk.boto_client_for = client


def store_bodies_as_text():
    """Stores a `Body` that is a JSON object as its text, as Step Functions does."""
    make_client = state_task_service_aws_sdk.boto_client_for

    def client(*arguments, **named):
        made = make_client(*arguments, **named)

        def as_text(params, **_):
            return params | {"Body": json.dumps(params["Body"])} if isinstance(params.get("Body"), dict) else params

        made.meta.events.register("provide-client-params.s3.PutObject", as_text)
        return made

    state_task_service_aws_sdk.boto_client_for = client


def leave_out_no_value():
    """Drops `AWS::NoValue` from lists, as CloudFormation does; moto keeps it as null."""
    clean = parsing.clean_json

    def cleaned(resource_json, resources_map):
        made = clean(resource_json, resources_map)
        return [item for item in made if item is not None] if isinstance(made, list) else made

    parsing.clean_json = cleaned
