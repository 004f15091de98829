"""Measures the deployed builds of the functions, and their cost.

    infra/measure [NOTICE]    default: a simulated alert of order 11 with 19,200 cells

Size: the deployed zip. Start: time from the process's start to its first request for an invocation, median of 9. Time
and peak resident memory: one alert in the emulated stack (infra/local), without and with flat map, with warm functions.

Lambda gives a function of 1,769 MB one CPU, and a smaller one its share. So the billed time is the measured time times
1,769 MB over the function's memory, if that is less. ingest-ligo and skymap-products each wait half a second to verify
their claim of a name, as with every S3 server but AWS's own. The times include that wait, the price does not.
measured.json keeps the resources of an alert, from which bill.py computes the month's bill.
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

from werkzeug.serving import WSGIRequestHandler

import bill
import local
import stack

# The wait of create-if-absent on servers other than AWS [s].
WAITS = {"ingest-ligo": 0.5, "skymap-products": 0.5}
requests = []
# moto's server logs every request here; the functions use path-style S3 URLs.
WSGIRequestHandler.log_request = lambda handler, *_: requests.append(handler.requestline.split()[:2])


def zipped(program):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(program, "bootstrap")
    return len(file.getvalue())


def start_ms(program, environment):
    """Time from a process's start to its first request for an invocation [ms]."""
    asked = threading.Event()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            time.sleep(0.2)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    times = []
    for _ in range(9):
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
        process.kill()
        process.wait()
    server.shutdown()
    return statistics.median(times)


def peak_mb(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def measured(deployed, notice, flat):
    """Peak memory [MB] and time [ms] of each function for one alert, the entered states, and the S3 requests."""
    root, logs = local.ROOT, local.folder("gwtm-measure-")
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    functions = local.Functions(local.programs(target / "lambda"), logs)
    functions.names = {name: function["FunctionName"] for name, function in deployed.functions.items()}
    environments = {name: (one, one["Environment"]["Variables"]) for name, one in deployed.functions.items()}
    extra = {"FERMI_TLE_FILE": str(root / "events/fermi.tle"), "FERMI_FT2_DIR": str(root / "events")}
    functions.start(environments, extra | ({} if flat else {"FLAT_MAX_ORDER": "none"}))
    s3, sfn, bucket = local.aws("s3"), local.aws("stepfunctions"), deployed.outputs["BucketName"]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for one in page.get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=one["Key"])
    s3.put_object(Bucket=bucket, Key="galaxy_catalog/g.csv", Body=(root / "events/catalog.csv").read_bytes())
    for n, (body, flow) in enumerate([
        (root / "events/notices/S090101a-4-initial.json", "LigoFlow"),
        (root / "events/notices/S090101a-6-icecube-nested.json", "IcecubeFlow"),
        (notice, "LigoFlow"),
    ]):
        key = f"inbox/{local.TOPICS[flow]}/0/{n:020}.json"
        s3.put_object(Bucket=bucket, Key=key, Body=Path(body).read_bytes())
        received = {"topic": local.TOPICS[flow], "partition": 0, "offset": n, "body": {"key": key}}
        name = f"{'flat' if flat else 'plain'}-{n}"
        requests.clear()
        started = sfn.start_execution(stateMachineArn=deployed.outputs[f"{flow}Arn"], name=name, input=json.dumps(received))
        local.until(
            "the flow", lambda: all(one["status"] != "RUNNING" for one in deployed.executions()) and deployed.executions()
        )
        failed = [one for one in deployed.executions() if one["status"] != "SUCCEEDED"]
        if failed:
            sys.exit(f"{failed[0]['name']}: {failed[0].get('cause')}")
    memory = {name: peak_mb(process.pid) for name, process in functions.running.items()}
    times = {}
    for name in functions.running:
        lines = [line for line in (logs / f"{name}.log").read_text().splitlines() if line.startswith('{"_aws"')]
        times[name] = json.loads(lines[-1])["duration_ms"]
    for process in functions.running.values():
        process.kill()
    puts = sum(method == "PUT" and path.startswith(f"/{bucket}") for method, path in requests)
    gets = sum(method in ("GET", "HEAD") and path.startswith(f"/{bucket}") for method, path in requests)
    history = sfn.get_paginator("get_execution_history").paginate(executionArn=started["executionArn"])
    states = sum(event["type"].endswith("StateEntered") for page in history for event in page["events"])
    logged = sum(len(line) + 1 for name in times for line in (logs / f"{name}.log").read_bytes().splitlines())
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    stored = sum(one["Size"] for page in pages for one in page.get("Contents", []) if not one["Key"].startswith("galaxy_catalog/"))
    # Three notices were processed, two by the ligo flow.
    return memory, times, {"states": states, "puts": puts, "gets": gets, "log_bytes": logged // 3, "stored_bytes": stored // 2}


def main():
    target = Path(os.environ.get("CARGO_TARGET_DIR", local.ROOT / "target"))
    if len(sys.argv) > 1:
        notice = Path(sys.argv[1])
    else:
        notice = local.folder("gwtm-measure-") / "order-11.json"
        command = [target / "release/gwtm", "simulate", "--start-order", "4", "--max-order", "11"]
        made = subprocess.run(command, capture_output=True)
        if made.returncode != 0:
            sys.exit(made.stderr.decode())
        notice.write_bytes(made.stdout)
    deployed = local.Stack({"GalaxyCatalog": "galaxy_catalog/g.csv"}, [], hurry=False)
    plain_mb, plain_ms, _ = measured(deployed, notice, flat=False)
    flat_mb, flat_ms, counts = measured(deployed, notice, flat=True)

    print("| function | zip | start | memory, time without flat map | with | MemorySize |")
    print("|---|---|---|---|---|---|")
    gb_seconds = 0.0
    for name in sorted(stack.functions().values()):
        program = target / "lambda" / name / "bootstrap"
        function = deployed.functions[name]
        environment = function["Environment"]["Variables"] | local.CREDENTIALS | {"AWS_LAMBDA_FUNCTION_NAME": name}
        environment |= {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "AWS_LAMBDA_FUNCTION_VERSION": "1"}
        size, start = zipped(program) / 2**20, start_ms(program, environment)
        memory = function["MemorySize"]
        if name != "ingest-icecube":
            gb_seconds += (flat_ms[name] / 1e3 - WAITS.get(name, 0)) * max(1, 1769 / memory) * memory / 1024
        print(
            f"| `{name}` | {size:.1f} MiB | {start:.0f} ms | {plain_mb[name]:.0f} MB, {plain_ms[name]:.0f} ms "
            f"| {flat_mb[name]:.0f} MB, {flat_ms[name]:.0f} ms | {memory} MB |"
        )
    counts |= {"gb_seconds": round(gb_seconds, 2), "calls": len(flat_ms) - 1}
    bill.MEASURED.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    print(f"\nAn alert with flat map: {counts}, kept in {bill.MEASURED.name}.\n")
    bill.main()


main()
