"""Runs notices through the whole stack on this machine: real programs, real flows, an emulated AWS.

    infra/local events/notices/S090101a-4-initial.json

moto deploys infra/template.yaml and interprets the flows of infra/flows. cargo-lambda's emulator serves the functions
with the template's environment. The bridge reads the notices from Apache Kafka and starts their flows. Finally, the
bucket's objects are copied into a folder.
"""

import argparse
import atexit
import base64
import copy
import io
import json
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
import zipfile
from pathlib import Path

# Signals must run the atexit clean-up; a shell's background job ignores Ctrl-C otherwise.
for ended in (signal.SIGINT, signal.SIGTERM):
    signal.signal(ended, lambda number, _: sys.exit(128 + number))

INFRA = Path(__file__).parent
ROOT = INFRA.parent
REGION = "us-east-2"
TOPICS = {"LigoFlow": "igwn.gwalert", "IcecubeFlow": "gcn.notices.icecube.lvk_nu_track_search"}
HEARTBEAT = "gcn.heartbeat"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# Port of moto's own server, for its interpreter.
MOTO = f"http://127.0.0.1:{os.environ.setdefault('MOTO_PORT', str(free_port()))}"
HEALTH = free_port()
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": REGION}
os.environ.update(CREDENTIALS, AWS_EC2_METADATA_DISABLED="true")

import boto3
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from moto.core.config import default_user_config
from moto.server import ThreadedMotoServer
from moto.stepfunctions.models import StateMachine, stepfunctions_backends
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils

import interpreter
import stack


def aws(service):
    return boto3.client(service, endpoint_url=MOTO, region_name=REGION)


def folder(prefix):
    """A folder that is removed at the end of this process."""
    made = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def started(command, **named):
    """A process that is ended with this one."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **named)

    def end():
        process.kill()
        process.wait()

    atexit.register(end)
    return process


def until(what, holds, seconds=120):
    begun = time.monotonic()
    while not (held := holds()):
        if time.monotonic() - begun > seconds:
            sys.exit(f"infra/local: timed out waiting for {what}: --logs FOLDER keeps the logs of all programs")
        time.sleep(0.05)
    return held


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


class Functions:
    """The functions under cargo-lambda's emulator."""

    def __init__(self, programs, logs):
        self.programs, self.logs, self.port = programs, logs, free_port()
        self.calls, self.lock, self.running = [], threading.Lock(), {}
        # The emulator returns a function's error as HTTP 500 with JSON.
        lambda_eval_utils._invoke_lambda_function = self.invoke

    def start(self, environments, extra, endpoints=("AWS_ENDPOINT_URL",)):
        """Starts them; `endpoints` are the settings that name the emulated AWS."""
        emulator = ["cargo-lambda", "lambda", "watch", "--only-lambda-apis", "--ignore-changes", "--quiet"]
        emulator += ["--invoke-address", "127.0.0.1", "--invoke-port", str(self.port)]
        log = (self.logs / "emulator.log").open("wb")
        started(emulator, cwd=ROOT, stdout=log, stderr=log)
        until("cargo-lambda's emulator", lambda: listens(self.port))
        for name, (function, environment) in environments.items():
            environment = environment | CREDENTIALS | dict.fromkeys(endpoints, MOTO) | {
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_LAMBDA_RUNTIME_API": f"http://127.0.0.1:{self.port}/.rt/{name}",
                "AWS_LAMBDA_FUNCTION_NAME": function["FunctionName"],
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function["MemorySize"]),
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/gwtm",
                "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            }
            log = (self.logs / f"{name}.log").open("wb")
            self.running[name] = started([self.programs(name)], env=environment | extra, stdout=log, stderr=log)

    def hang(self, name):
        """Makes a function hang."""
        self.running[name].send_signal(signal.SIGSTOP)

    def invoke(self, parameters, region, state_credentials):
        name = self.binary(parameters["FunctionName"])
        url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/{name}/invocations"
        request = urllib.request.Request(url, data=parameters["Payload"], method="POST")
        try:
            with urllib.request.urlopen(request) as response:
                answer, error = json.load(response), None
        except urllib.error.HTTPError as refused:
            answer, error = json.load(refused), "Unhandled"
        with self.lock:
            self.calls.append([name, answer.get("errorType") if error else None])
        return {"StatusCode": 200, "Payload": answer} | ({"FunctionError": error} if error else {})

    def binary(self, arn):
        return next(name for name, process in self.running.items() if arn.endswith(self.names[name]))


def start_aws():
    """Starts moto with a bucket for the functions' code."""
    interpreter.leave_out_no_value()
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    # moto deep-copies flows, but their running executions cannot be copied.
    StateMachine.__deepcopy__ = lambda machine, memo: copy.copy(machine)
    logging.disable()
    warnings.simplefilter("ignore")  # `differences` reports unsupported resources.
    ThreadedMotoServer(ip_address="127.0.0.1", port=int(os.environ["MOTO_PORT"]), verbose=False).start()
    until("moto", lambda: listens(int(os.environ["MOTO_PORT"])))
    s3, code = aws("s3"), io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("bootstrap", "")
    s3.create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="code", Key="bootstrap.zip", Body=code.getvalue())


class Stack:
    """The stack on moto."""

    def __init__(self, parameters, secrets, hurry):
        start_aws()
        for name, text in secrets:
            parameters[name] = aws("secretsmanager").create_secret(Name=name, SecretString=text)["ARN"]
        made = stack.translated()
        for resource in made["Resources"].values():
            if resource["Type"] == "AWS::StepFunctions::StateMachine":
                inline(resource["Properties"], hurry)
        formation = aws("cloudformation")
        formation.create_stack(
            StackName="gwtm",
            TemplateBody=json.dumps(made),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        described = formation.describe_stacks(StackName="gwtm")["Stacks"][0]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        self.status, self.wanted = described["StackStatus"], {n: r["Type"] for n, r in made["Resources"].items()}
        listed = formation.get_paginator("list_stack_resources").paginate(StackName="gwtm")
        self.resources = {one["LogicalResourceId"]: one for page in listed for one in page["StackResourceSummaries"]}
        by_name = {one["FunctionName"]: one for one in aws("lambda").list_functions()["Functions"]}
        # moto creates the stack's flows in a backend without an interpreter: create them again in the interpreted one.
        for made in stepfunctions_backends["123456789012"][REGION].state_machines:
            aws("stepfunctions").create_state_machine(name=made.name, definition=made.definition, roleArn=made.roleArn)
        self.functions = {
            binary: by_name[self.resources[name]["PhysicalResourceId"]] for name, binary in stack.functions().items()
        }

    def differences(self):
        """Resources that are missing or of another type."""
        made = {name: one["ResourceType"] for name, one in self.resources.items()}
        return {name: [kind, made.get(name)] for name, kind in self.wanted.items() if made.get(name) != kind}

    def executions(self):
        sfn, found = aws("stepfunctions"), []
        for flow in TOPICS:
            for one in sfn.list_executions(stateMachineArn=self.outputs[f"{flow}Arn"])["executions"]:
                found.append({"flow": flow} | sfn.describe_execution(executionArn=one["executionArn"]))
        return sorted(found, key=lambda one: one["startDate"])


def inline(properties, hurry):
    """Applies the definition's substitutions, as CloudFormation does; moto does not."""
    joined = properties["DefinitionString"]["Fn::Join"]
    text = joined[0].join(joined[1])
    if hurry:
        text = re.sub(r'("IntervalSeconds"|"MaxDelaySeconds"): \d+', r"\1: 1", text)
        text = re.sub(r'"TimeoutSeconds": \d+', '"TimeoutSeconds": 20', text)
    substitutions = properties.pop("DefinitionSubstitutions")
    pieces = re.split(r"\$\{(\w+)\}", text)
    pieces[1::2] = (substitutions[name] for name in pieces[1::2])
    properties["DefinitionString"] = {"Fn::Join": ["", pieces]}


# One process as broker and controller, with a replication factor of 1.
BROKER = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{address}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=4194304
"""


class Kafka:
    """A broker with GCN's topics."""

    def __init__(self, logs):
        self.port, controller, own = free_port(), free_port(), folder("gwtm-broker-")
        self.address = f"127.0.0.1:{self.port}"
        (own / "server.properties").write_text(BROKER.format(address=self.address, controller=controller, folder=own))
        java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ROOT / "tests/servers/kafka/libs/*"]
        log = (logs / "broker.log").open("wb")
        # The first letter becomes an A: the tool would parse an id with a leading minus as an option.
        cluster = base64.urlsafe_b64encode(bytes(1) + os.urandom(15)).decode().rstrip("=")
        formatting = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", "server.properties"]
        subprocess.run([*java, *formatting], cwd=own, stdout=log, stderr=log, check=True)
        started([*java, "kafka.Kafka", "server.properties"], cwd=own, stdout=log, stderr=log)
        until("the broker", lambda: listens(self.port))
        settings = {"bootstrap.servers": self.address}
        topics = [NewTopic(name, 1, 1) for name in [*TOPICS.values(), HEARTBEAT]]
        admin = AdminClient(settings)
        for made in admin.create_topics(topics).values():
            made.result(60)
        self.producer = Producer(settings | {"message.max.bytes": 8388608, "logger": logging.getLogger()})

    def send(self, notice):
        """Sends a notice to the topic of its kind."""
        body = Path(notice).read_bytes()
        flow = "IcecubeFlow" if b'"ref_ID"' in body else "LigoFlow"
        self.producer.produce(TOPICS[flow], body, partition=0)
        # A signal is not handled during the call.
        until("the broker to take the notice", lambda: self.producer.flush(0.1) == 0)


def bridge_settings(broker, outputs, group):
    return CREDENTIALS | {
        "KAFKA_BOOTSTRAP": broker,
        "KAFKA_GROUP_ID": group,
        "KAFKA_OFFSET_RESET": "earliest",
        "STORAGE_BUCKET_SOURCE": "s3",
        "AWS_BUCKET": outputs["BucketName"],
        "AWS_ENDPOINT_URL": MOTO,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HEALTH_ADDR": f"127.0.0.1:{HEALTH}",
    } | {f"{flow.removesuffix('Flow').upper()}_FLOW_ARN": outputs[f"{flow}Arn"] for flow in TOPICS}


def programs(folder):
    """Finds a program, built by `cargo lambda build` (NAME/bootstrap) or `cargo build`."""

    def find(name):
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        folders = [folder] if folder else [target / "lambda", target / "release", target / "debug"]
        for place in (place / tail for place in folders for tail in (f"{name}/bootstrap", name)):
            if place.is_file():
                return place
        sys.exit(f"infra/local: `{name}` is not built: cargo build --workspace --bins")

    return find


def pair(text):
    name, _, value = text.partition("=")
    return name, value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notices", nargs="+", metavar="NOTICE", help="a file of events/notices, or any other")
    parser.add_argument("--out", type=Path, default=Path("gwtm-local"), help="where the bucket is copied to")
    parser.add_argument("--programs", type=Path, help="a folder of built programs (target/lambda, release or debug)")
    parser.add_argument("--parameter", type=pair, action="append", default=[], metavar="NAME=VALUE", help="of the template")
    parser.add_argument("--secret", type=pair, action="append", default=[], metavar="NAME=JSON", help="made before; its ARN is the parameter NAME")
    parser.add_argument("--object", type=pair, action="append", default=[], metavar="KEY=FILE", help="put into the bucket before")
    parser.add_argument("--set", type=pair, action="append", default=[], metavar="NAME=VALUE", help="of every function's environment, as a file of this machine is named")
    parser.add_argument("--hang", metavar="FUNCTION", help="a function that answers nothing")
    parser.add_argument("--hurry", action="store_true", help="waits between attempts of 1 s, time-outs of 20 s")
    parser.add_argument("--kill", action="store_true", help="kill the bridge once the first flow runs, and start it again")
    parser.add_argument("--twice", action="store_true", help="have the bridge take everything once more")
    parser.add_argument("--gwtm", action="append", default=[], metavar="ARGUMENTS", help="run `gwtm` with these in the end, logged in to AWS; its stack is `gwtm`")
    parser.add_argument("--logs", type=Path, help="a folder for what every program prints")
    parser.add_argument("--json", action="store_true", help="say everything, for programs")
    asked = parser.parse_args()

    logs = asked.logs or folder("gwtm-local-")
    logs.mkdir(parents=True, exist_ok=True)
    interpreter.store_bodies_as_text()
    find = programs(asked.programs)
    functions = Functions(find, logs)
    deployed = Stack(dict(asked.parameter), asked.secret, asked.hurry)
    functions.names = {name: function["FunctionName"] for name, function in deployed.functions.items()}
    functions.start(
        {name: (one, one.get("Environment", {}).get("Variables", {})) for name, one in deployed.functions.items()},
        dict(asked.set),
    )
    s3, bucket = aws("s3"), deployed.outputs["BucketName"]
    for key, file in asked.object:
        s3.put_object(Bucket=bucket, Key=key, Body=Path(file).read_bytes())
    if asked.hang:
        functions.hang(asked.hang)

    broker = Kafka(logs)
    with (logs / "bridge.log").open("wb") as log:
        settings = bridge_settings(broker.address, deployed.outputs, "local")
        handing_over = started([find("bridge")], env=settings, stdout=log, stderr=log)
        for notice in asked.notices:
            broker.send(notice)
        if asked.kill:
            until("the first flow", deployed.executions)
            handing_over.kill()
            handing_over = started([find("bridge")], env=settings, stdout=log, stderr=log)
        ended = until("the flows", lambda: all_ended(deployed.executions(), len(asked.notices)), 300)
        healthy = [is_healthy(find, settings)]
        exits = [leave(handing_over)]
        healthy.append(is_healthy(find, settings))
        if asked.twice:
            settings = bridge_settings(broker.address, deployed.outputs, "once-more")
            again = started([find("bridge")], env=settings, stdout=log, stderr=log)
            handed = lambda: (logs / "bridge.log").read_text().count("notice handed to its flow")
            until("the bridge, once more", lambda: handed() >= 2 * len(asked.notices))
            exits.append(leave(again))
            ended = deployed.executions()

    calls, called = list(functions.calls), []
    for arguments in asked.gwtm:
        settings = CREDENTIALS | {"AWS_ENDPOINT_URL": MOTO, "AWS_EC2_METADATA_DISABLED": "true"}
        ran = subprocess.run([find("gwtm"), *shlex.split(arguments)], env=settings, capture_output=True, text=True)
        called.append({"code": ran.returncode, "stdout": ran.stdout, "stderr": ran.stderr})

    keys = [one["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket) for one in page.get("Contents", [])]
    for key in keys:
        file = asked.out / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    if asked.json:
        report = {
            "stack": deployed.status,
            "differences": deployed.differences(),
            "executions": [
                {name: one.get(name) for name in ("flow", "name", "status", "input", "output", "error", "cause")} for one in ended
            ],
            "calls": calls,
            "bridge_exits": exits,
            "bridge_healthy": healthy,
            "gwtm": called,
            "logs": {file.stem: file.read_text() for file in logs.glob("*.log")},
        }
        print(json.dumps(report))
        return
    for one in ended:
        print(f"{one['flow']} {one['name']}: {one['status']}{' (' + one['cause'] + ')' if one.get('cause') else ''}")
    for name, error in functions.calls:
        print(f"  {name}: {error or 'answered'}")
    for one in called:
        print(one["stdout"] + one["stderr"])
    print(f"{len(keys)} objects are in {asked.out}.")


def all_ended(executions, count):
    return executions if len(executions) >= count and all(one["status"] != "RUNNING" for one in executions) else None


def is_healthy(programs, settings):
    """Runs the container's health check."""
    return subprocess.run([programs("bridge"), "healthy"], env=settings, capture_output=True).returncode == 0


def leave(process):
    process.send_signal(signal.SIGTERM)
    return process.wait(30)


if __name__ == "__main__":
    main()
