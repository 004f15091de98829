"""What moto's interpreter of Amazon States Language leaves out and Step Functions does."""

import json

from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_aws_sdk


def store_bodies_as_text():
    """Step Functions stores a `Body` that is a JSON object as its text."""
    make_client = state_task_service_aws_sdk.boto_client_for

    def client(*arguments, **named):
        made = make_client(*arguments, **named)

        def as_text(params, **_):
            return params | {"Body": json.dumps(params["Body"])} if isinstance(params.get("Body"), dict) else params

        made.meta.events.register("provide-client-params.s3.PutObject", as_text)
        return made

    state_task_service_aws_sdk.boto_client_for = client
