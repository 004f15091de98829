"""Runs a flow of infra/flows in moto's interpreter of Amazon States Language, with given answers for the functions.

Reads from standard input:
    {"flow": "ligo", "input": {…}, "answers": {"ingest-ligo": [{"ok": {…}}, {"error": "Retryable"}, …], …},
     "bucket": "there", "each_retry": 0}
Without a bucket ("absent") failures cannot be kept; one that is "late" is made after two attempts. With `each_retry` 1 or 2
every second error that a function's retriers name, from the first or the second on, is answered once, before the answers
that are given (all at once are more than one retrier follows). A function's answers are given in turn, the last one for
ever. Writes what happened:
    {"status": "SUCCEEDED", "output": …, "calls": [["ingest-ligo", {"flow": {…}, "message": {…}}], …],
     "objects": {"failed/….json": {…}}, "retried": {"ingest-ligo": ["Retryable", …], …}}
Time-outs and waits between attempts are cut short; nothing else is changed.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from pathlib import Path

os.environ.update(AWS_ACCESS_KEY_ID="t", AWS_SECRET_ACCESS_KEY="t", AWS_DEFAULT_REGION="us-east-2")

import boto3
import yaml
from moto import mock_aws
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils

INFRA = Path(__file__).parents[2] / "infra"
FLOWS = INFRA / "flows"
BUCKET = "bucket"
# Instead of every time-out [s].
TIMEOUT = 4

sys.path.insert(0, str(INFRA))
import interpreter

asked = json.load(sys.stdin)
calls, lock = [], threading.Lock()


def invoke(parameters, region, state_credentials):
    """Stands where the interpreter calls Lambda."""
    name, payload = parameters["FunctionName"], json.loads(parameters["Payload"])
    with lock:
        calls.append([name, payload])
        answers = asked["answers"][name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if answer.get("error") == "States.Timeout":
        time.sleep(TIMEOUT + 1)
    if answer.get("error") == "States.DataLimitExceeded":
        return {"StatusCode": 200, "Payload": "x" * (256 * 1024 + 1)}
    if "ok" in answer:
        return {"StatusCode": 200, "Payload": answer["ok"]}
    error = {"errorType": answer["error"], "errorMessage": "as the test wants"}
    return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": error}


def definition(flow):
    text = (FLOWS / f"{flow}.asl.yaml").read_text()
    kebab = lambda match: re.sub(r"(?<!^)([A-Z])", r"-\1", match[1]).lower()
    text = re.sub(r"\$\{(\w+)\}", lambda match: BUCKET if match[1] == "Bucket" else kebab(match), text)
    text = re.sub(r"TimeoutSeconds: \d+", f"TimeoutSeconds: {TIMEOUT}", text)
    text = re.sub(r"(IntervalSeconds|MaxDelaySeconds|BackoffRate): \d+", r"\1: 1", text)
    return yaml.safe_load(text)


def retried(machine):
    """The errors that the retriers of each function name."""
    for name, state in machine["States"].items():
        if state["Type"] == "Task" and "lambda" in state["Resource"]:
            yield name, [error for one in state["Retry"] for error in one["ErrorEquals"]]
        for inner in state.get("Branches", []) + [state[field] for field in ("ItemProcessor",) if field in state]:
            yield from retried(inner)


def make_bucket(s3):
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})


@mock_aws(config={"stepfunctions": {"execute_state_machine": True}})
def main():
    lambda_eval_utils._invoke_lambda_function = invoke
    interpreter.store_bodies_as_text()
    logging.disable()
    s3, sfn = boto3.client("s3"), boto3.client("stepfunctions")
    if asked["bucket"] == "there":
        make_bucket(s3)
    if asked["bucket"] == "late":
        interpreter.before_puts(lambda count: make_bucket(s3) if count == 3 else None)
    defined = definition(asked["flow"])
    errors = dict(retried(defined))
    if asked["each_retry"]:
        for name, answers in asked["answers"].items():
            errors[name] = errors[name][asked["each_retry"] - 1 :: 2]
            answers[:0] = [{"error": error} for error in errors[name]]
    machine = sfn.create_state_machine(
        name=asked["flow"], definition=json.dumps(defined), roleArn="arn:aws:iam::123456789012:role/flow"
    )["stateMachineArn"]
    execution = sfn.start_execution(stateMachineArn=machine, name="notice", input=json.dumps(asked["input"]))
    while True:
        ended = sfn.describe_execution(executionArn=execution["executionArn"])
        if ended["status"] != "RUNNING":
            break
        time.sleep(0.05)
    names = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])] if asked["bucket"] != "absent" else []
    objects = {name: json.load(s3.get_object(Bucket=BUCKET, Key=name)["Body"]) for name in names}
    output = json.loads(ended["output"]) if ended.get("output") else None
    error = {"error": ended.get("error"), "cause": ended.get("cause")}
    ran = {"status": ended["status"], "output": output, "calls": calls, "objects": objects, "retried": errors}
    print(json.dumps(ran | error))


main()
