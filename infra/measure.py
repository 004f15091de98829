"""Measures the deployed builds of the functions, and their cost.

    infra/measure [NOTICE]    default: a simulated alert of order 11 with 19,200 cells

The size is that of the zip that is deployed. The start is the time from the process's start to its first question for
work, and what it computes until then, medians of 20; secrets are not read, and authorities come from one file, as on
Lambda. Memory is the most that a process ever had in RAM; times are medians, and processor times means, of
7 alerts through the emulated stack (infra/local), without flat map and with, each function called twice before. The last
table is the median alert's way from `inbox/` to the row at a stand-in for the GWTM and to its notifications.

Lambda gives a function of 1,769 MB one processor and a smaller one its part of it: what a function computes takes
1,769 MB over its memory times as long, and what it waits for takes as long as ever. So each call has two numbers, its processor
time and its waits, from which bill.py computes what it costs with the template's MemorySize. The emulated S3 and Step
Functions are slower than AWS's own, and the processors' speed is that of this machine.
"""

import http.server
import io
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import certifi
from werkzeug.serving import WSGIRequestHandler

import bill
import local
import stack
from gwtm import Gwtm

# Of these alerts the first two are not measured.
WARM_UP, ALERTS = 2, 9
STARTS = 20
# As AWS is named to the store, so that it creates an object without asking again whose it is.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SECRETS_MANAGER")
requests = []
# moto's server logs every request here; the functions use path-style S3 URLs.
WSGIRequestHandler.log_request = lambda handler, *_: requests.append(handler.requestline.split()[:2])


def zipped(program):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(program, "bootstrap")
    return len(file.getvalue())


def computed_ms(pid):
    """What a process has computed, all threads together [ms]."""
    # The id of its clock of processor time, as clock_getcpuclockid(3) makes it on Linux.
    return time.clock_gettime((~pid << 3) | 2) * 1e3


def start_ms(program, environment):
    """Time from a process's start to its first request for an invocation, and what it computes until then [ms]."""
    asked = threading.Event()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            time.sleep(0.2)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    times, computed = [], []
    for _ in range(STARTS):
        asked.clear()
        begun = time.perf_counter()
        process = subprocess.Popen(
            [program],
            env=environment | {"AWS_LAMBDA_RUNTIME_API": f"http://127.0.0.1:{server.server_port}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not asked.wait(20):
            sys.exit(f"{program}: expected a request for an invocation")
        times.append((time.perf_counter() - begun) * 1e3)
        computed.append(computed_ms(process.pid))
        process.kill()
        process.wait()
    server.shutdown()
    return statistics.median(times), statistics.median(computed)


def weighed(function, program):
    """A program's zip [MiB] and its start [ms]."""
    environment = function["Environment"]["Variables"] | local.CREDENTIALS | {"AWS_LAMBDA_FUNCTION_NAME": program.parent.name}
    environment |= {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "AWS_LAMBDA_FUNCTION_VERSION": "1"}
    # How long it takes to read a secret is not this machine's to say. Lambda has its authorities in one file, Debian in
    # a folder besides, which takes longer to read.
    environment = {name: value for name, value in environment.items() if name != "SETTINGS_SECRETS"}
    start, computed = start_ms(program, environment | {"API_TOKEN": "measured", "SSL_CERT_FILE": certifi.where()})
    return {"zip_mib": round(zipped(program) / 2**20, 2), "start_ms": round(start, 1), "start_processor_ms": round(computed, 1)}


def peak_mb(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def processor_ms(pid):
    """What a process has computed since its start [ms], in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")


def notices(body, count):
    """The notices of as many superevents, that differ in their names alone."""
    name = json.loads(body)["superevent_id"].encode()
    return [body.replace(name, f"S090102{chr(97 + n)}".encode()) for n in range(count)]


def steps(events, begun):
    """When each task of an execution began and ended [ms since `begun`]."""
    found, of = {}, {}
    for event in events:
        at = event["timestamp"].timestamp() * 1e3 - begun * 1e3
        if event["type"] == "TaskStateEntered":
            of[event["id"]] = event["stateEnteredEventDetails"]["name"]
            found[of[event["id"]]] = [at, None]
        elif event["previousEventId"] in of:
            of[event["id"]] = of[event["previousEventId"]]
            if event["type"] == "TaskStateExited":
                found[of.pop(event["id"])][1] = at
    return found


class Measured:
    """What alerts take, one after another, with flat map or without."""

    def __init__(self, deployed, notice, flat):
        root, logs = local.ROOT, local.folder("gwtm-measure-")
        target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
        functions = local.Functions(local.programs(target / "lambda"), logs)
        functions.names = {name: function["FunctionName"] for name, function in deployed.functions.items()}
        environments = {name: (one, one["Environment"]["Variables"]) for name, one in deployed.functions.items()}
        extra = {"FERMI_TLE_FILE": str(root / "events/fermi.tle"), "FERMI_FT2_DIR": str(root / "events"),
                 "SWIFT_POINTING_URL": "none"}
        extra |= {"GRACEDB_URL": "http://127.0.0.1:9"} | ({} if flat else {"FLAT_MAX_ORDER": "none"})
        functions.start(environments, extra, ENDPOINTS)
        self.s3, self.sfn, self.bucket = local.aws("s3"), local.aws("stepfunctions"), deployed.outputs["BucketName"]
        self.deployed, self.kind, self.count = deployed, "flat" if flat else "plain", 0
        for one in self.objects():
            self.s3.delete_object(Bucket=self.bucket, Key=one["Key"])
        self.s3.put_object(Bucket=self.bucket, Key="galaxy_catalog/g.csv", Body=(root / "events/catalog.csv").read_bytes())
        Gwtm.rows.clear()
        self.take((root / "events/notices/S090101a-6-icecube-nested.json").read_bytes(), "IcecubeFlow")
        bodies, self.ways = notices(notice, ALERTS), []
        for body in bodies[:WARM_UP]:
            self.take(body, "LigoFlow")
        before = {name: processor_ms(process.pid) for name, process in functions.running.items()}
        skipped = {name: len(self.records(logs, name)) for name in before}
        stored = self.objects()
        requests.clear()
        for body in bodies[WARM_UP:]:
            self.ways.append(self.take(body, "LigoFlow"))
        alerts = len(self.ways)
        puts = sum(method == "PUT" and path.startswith(f"/{self.bucket}") for method, path in requests)
        lists = sum(method == "GET" and "list-type=" in path for method, path in requests)
        gets = sum(method in ("GET", "HEAD") and path.startswith(f"/{self.bucket}") for method, path in requests) - lists
        logged = 0
        self.memory = {name: peak_mb(process.pid) for name, process in functions.running.items()}
        self.times, self.processor = {}, {}
        for name, process in functions.running.items():
            records = self.records(logs, name)[skipped[name] :]
            # Of a function that is not called for such an alert, what it has taken before.
            of = records or self.records(logs, name)
            self.times[name] = statistics.median([record["duration_ms"] for record in of]) if of else 0.0
            self.processor[name] = (processor_ms(process.pid) - before[name]) / alerts
            logged += len((logs / f"{name}.log").read_bytes()) / (ALERTS + 1)
            process.kill()
        self.called = [name for name in self.times if len(self.records(logs, name)) > skipped[name]]
        kept = self.objects()
        fit_objects = [sum(one["Key"].startswith("fit/") for one in objects) for objects in (stored, kept)]
        stored_bytes = [sum(one["Size"] for one in objects) for objects in (stored, kept)]
        self.counts = {
            "gets": round(gets / alerts),
            "lists": round(lists / alerts),
            "fit_objects": round((fit_objects[1] - fit_objects[0]) / alerts),
            "puts": round(puts / alerts),
            "states": sum(event["type"].endswith("StateEntered") for event in self.events),
            "log_bytes": round(logged),
            "stored_bytes": round((stored_bytes[1] - stored_bytes[0]) / alerts),
        }

    def records(self, logs, name):
        lines = (logs / f"{name}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"_aws"')]

    def objects(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [one for page in pages for one in page.get("Contents", [])]

    def take(self, body, flow):
        """Takes a notice through its flow: when each step began and ended [ms] since the notice went to `inbox/`."""
        self.count += 1
        topic, name = local.TOPICS[flow], f"{self.kind}-{self.count}"
        key, begun = f"inbox/{topic}/0/{self.count:020}.json", time.time()
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        received = {"topic": topic, "partition": 0, "offset": self.count, "body": {"key": key}}
        machine, stored = self.deployed.outputs[f"{flow}Arn"], len(Gwtm.stored)
        arn = self.sfn.start_execution(stateMachineArn=machine, name=name, input=json.dumps(received))["executionArn"]
        started = (time.time() - begun) * 1e3
        status = lambda: self.sfn.describe_execution(executionArn=arn)
        local.until("the flow", lambda: status()["status"] != "RUNNING")
        if status()["status"] != "SUCCEEDED":
            sys.exit(f"{name}: {status().get('cause')}")
        pages = self.sfn.get_paginator("get_execution_history").paginate(executionArn=arn)
        self.events = [event for page in pages for event in page["events"]]
        way = {"inbox/ and start of the flow": [0.0, started]} | steps(self.events, begun)
        if flow == "LigoFlow":
            if len(Gwtm.stored) != stored + 1:
                sys.exit(f"{name}: expected one row, found {len(Gwtm.stored) - stored}")
            way["the row is there"] = [(Gwtm.stored[-1] - begun) * 1e3] * 2
        return way


def main():
    target = Path(os.environ.get("CARGO_TARGET_DIR", local.ROOT / "target"))
    if len(sys.argv) > 1:
        notice = Path(sys.argv[1]).read_bytes()
    else:
        command = [local.programs(None)("gwtm"), "simulate", "--start-order", "4", "--max-order", "11"]
        made = subprocess.run(command, capture_output=True)
        if made.returncode != 0:
            sys.exit(made.stderr.decode())
        notice = made.stdout
    parameters = {"GalaxyCatalog": "galaxy_catalog/g.csv", "ApiBase": Gwtm.base(Gwtm.start())}
    deployed = local.Stack(parameters, [("ApiTokenSecret", '{"API_TOKEN": "measured"}')], hurry=False)
    plain, flat = Measured(deployed, notice, flat=False), Measured(deployed, notice, flat=True)

    called = {name: flat.processor[name] for name in flat.called}
    measured = {
        name: {"processor_ms": round(ms, 1), "waits_ms": round(max(flat.times[name] - ms, 0.0), 1)} for name, ms in called.items()
    }
    programs = {name: weighed(deployed.functions[name], target / "lambda" / name / "bootstrap") for name in stack.functions().values()}
    found = flat.counts | {"functions": measured, "programs": programs}
    bill.MEASURED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print("| function | zip | start, of which processor | memory, time without flat map | with | of which processor | MemorySize |")
    print("|---|---|---|---|---|---|---|")
    for name, program in sorted(programs.items()):
        print(
            f"| `{name}` | {program['zip_mib']:.1f} MiB | {program['start_ms']:.1f} ms, {program['start_processor_ms']:.1f} ms "
            f"| {plain.memory[name]:.0f} MB, {plain.times[name]:.0f} ms | {flat.memory[name]:.0f} MB, {flat.times[name]:.0f} ms "
            f"| {flat.processor[name]:.0f} ms | {deployed.functions[name]['MemorySize']} MB |"
        )
    print("\nAn alert with flat map, by the memory of each function [ms, GB·s]:\n")
    bill.print_memory()
    print("\nFrom `inbox/` to the row and the notifications, with flat map [ms]:\n\n| step | begun | ended |\n|---|---|---|")
    ways = flat.ways
    middle = {step: [statistics.median([way[step][n] for way in ways]) for n in (0, 1)] for step in ways[0]}
    for step, (begun, ended) in sorted(middle.items(), key=lambda one: one[1]):
        print(f"| {step} | {begun:.0f} | {ended:.0f} |")
    print(f"\nAn alert with flat map: {flat.counts}, kept in {bill.MEASURED.name}.\n")
    bill.print_bill()


main()
