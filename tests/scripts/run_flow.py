"""Runs flows of infra/flows in moto's interpreter of Amazon States Language, with given answers for the functions.

Reads a list from standard input, of
    {"flow": "ligo", "input": {…}, "answers": {"ingest-ligo": [{"ok": {…}}, {"error": "Retryable"}, …], …},
     "bucket": "there", "each_retry": 0}
Without a bucket ("absent") failures cannot be kept; one that is "late" is made after two attempts. With `each_retry` 1 or 2
every second error that a function's retriers name, from the first or the second on, is answered once, before the answers
that are given (all at once are more than one retrier follows). A function's answers are given in turn, the last one for
ever. Writes a list of what happened:
    {"status": "SUCCEEDED", "output": …, "calls": [["ingest-ligo", {"flow": {…}, "message": {…}}], …],
     "objects": {"failed/….json": {…}}, "retried": {"ingest-ligo": ["Retryable", …], …},
     "declared": [["ingest-ligo", "Retry", 0], …], "exercised": [["ingest-ligo", "Catch", 1], …]}
where `declared` are the retriers and catchers of every state, and `exercised` those that retried or caught in this run.
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
from moto.stepfunctions.parser.asl.component.common.catch.catcher_outcome import CatcherOutcomeCaught
from moto.stepfunctions.parser.asl.component.common.catch.catcher_decl import CatcherDecl
from moto.stepfunctions.parser.asl.component.common.retry.retrier_decl import RetrierDecl
from moto.stepfunctions.parser.asl.component.common.retry.retrier_outcome import RetrierOutcome
from moto.stepfunctions.parser.asl.component.state.exec.execute_state import ExecutionState
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils

INFRA = Path(__file__).parents[2] / "infra"
FLOWS = INFRA / "flows"
BUCKET = "bucket"
# Instead of every time-out [s].
TIMEOUT = 4
DATA_LIMIT = "States.DataLimitExceeded"

sys.path.insert(0, str(INFRA))
import interpreter

lock = threading.Lock()


class Run:
    """What is asked of the run in progress, and what has happened in it."""

    def __init__(self, asked):
        self.asked, self.calls, self.puts = asked, [], 0
        self.used, self.exercised = set(), set()


run = None


def invoke(parameters, region, state_credentials):
    """Stands where the interpreter calls Lambda."""
    name, payload = parameters["FunctionName"], json.loads(parameters["Payload"])
    with lock:
        run.calls.append([name, payload])
        answers = run.asked["answers"][name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if answer.get("error") == "States.Timeout":
        time.sleep(TIMEOUT + 1)
    if answer.get("error") == DATA_LIMIT:
        return {"StatusCode": 200, "Payload": "x" * (256 * 1024 + 1)}
    if "ok" in answer:
        return {"StatusCode": 200, "Payload": answer["ok"]}
    error = {"errorType": answer["error"], "errorMessage": "as the test wants"}
    return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": error}


def before_put(_):
    with lock:
        run.puts += 1
        if run.asked["bucket"] == "late" and run.puts == 3:
            make_bucket(boto3.client("s3"))


def watch_retriers_and_catchers():
    """Notes which retriers and catchers of which states the interpreter follows."""
    decide = {RetrierDecl: RetrierDecl.eval, CatcherDecl: CatcherDecl.eval}

    def noting(kind, followed):
        def noted(decl, env):
            decide[kind](decl, env)
            if followed(env.stack[-1]):
                run.used.add(id(decl))

        return noted

    RetrierDecl.eval = noting(RetrierDecl, lambda outcome: outcome == RetrierOutcome.Executed)
    CatcherDecl.eval = noting(CatcherDecl, lambda outcome: isinstance(outcome, CatcherOutcomeCaught))
    evaluate = ExecutionState._eval_state

    def evaluated(state, env):
        try:
            evaluate(state, env)
        finally:
            decls = [("Retry", state.retry.retriers if state.retry else []), ("Catch", state.catch.catchers if state.catch else [])]
            found = {(state.name, kind, at) for kind, them in decls for at, one in enumerate(them) if id(one) in run.used}
            with lock:
                run.exercised |= found

    ExecutionState._eval_state = evaluated


def definition(flow):
    text = (FLOWS / f"{flow}.asl.yaml").read_text()
    kebab = lambda match: re.sub(r"(?<!^)([A-Z])", r"-\1", match[1]).lower()
    text = re.sub(r"\$\{(\w+)\}", lambda match: BUCKET if match[1] == "Bucket" else kebab(match), text)
    text = re.sub(r"TimeoutSeconds: \d+", f"TimeoutSeconds: {TIMEOUT}", text)
    text = re.sub(r"(IntervalSeconds|MaxDelaySeconds|BackoffRate): \d+", r"\1: 1", text)
    return yaml.safe_load(text)


def states(machine):
    """Every state with its name, those of maps and branches among them."""
    for name, state in machine["States"].items():
        yield name, state
        for inner in state.get("Branches", []) + [state[field] for field in ("ItemProcessor",) if field in state]:
            yield from states(inner)


def is_function(state):
    return state["Type"] == "Task" and "lambda" in state["Resource"]


def declared(machine):
    """The retriers and catchers of every state."""
    for name, state in states(machine):
        for kind in ("Retry", "Catch"):
            for at, one in enumerate(state.get(kind, [])):
                # No answer of S3 is that large.
                if is_function(state) or one["ErrorEquals"] != [DATA_LIMIT]:
                    yield [name, kind, at]


def make_bucket(s3):
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})


@mock_aws(config={"stepfunctions": {"execute_state_machine": True}})
def ran(asked):
    global run
    run = Run(asked)
    s3, sfn = boto3.client("s3"), boto3.client("stepfunctions")
    if asked["bucket"] == "there":
        make_bucket(s3)
    defined = definition(asked["flow"])
    functions = ((name, state) for name, state in states(defined) if is_function(state))
    errors = {name: [error for one in state["Retry"] for error in one["ErrorEquals"]] for name, state in functions}
    if asked["each_retry"]:
        errors = {name: named[asked["each_retry"] - 1 :: 2] for name, named in errors.items()}
        for name, answers in asked["answers"].items():
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
    return {
        "status": ended["status"],
        "output": json.loads(ended["output"]) if ended.get("output") else None,
        "error": ended.get("error"),
        "cause": ended.get("cause"),
        "calls": run.calls,
        "objects": {name: json.load(s3.get_object(Bucket=BUCKET, Key=name)["Body"]) for name in names},
        "retried": errors,
        "declared": list(declared(defined)),
        "exercised": sorted(run.exercised),
    }


def main():
    lambda_eval_utils._invoke_lambda_function = invoke
    interpreter.store_bodies_as_text()
    interpreter.before_puts(before_put)
    watch_retriers_and_catchers()
    logging.disable()
    print(json.dumps([ran(asked) for asked in json.load(sys.stdin)]))


main()
