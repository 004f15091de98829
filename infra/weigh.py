"""Measures infra/weigh's numbers on the image of check_image.py.

    weigh.py SCRATCH ALERTS"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import local
from containers import PODMAN, RUN, inspect, newest, run, settings

scratch, alerts = Path(sys.argv[1]), int(sys.argv[2])
IMAGE = "localhost/gwtm-listener:check"
STARTS = 5
# Timeout of all alerts [s].
LONGEST = 900


def get(port, path):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).read().decode()
    except OSError:
        return ""


def process(pid, name):
    """A memory size from /proc/PID/status [MiB]."""
    return int(re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]) / 1024


def start(broker):
    """Starts a listener; also returns the time until it is healthy [s]."""
    port = local.free_port()
    container = run(*RUN, "--detach", "--read-only", "--tmpfs", "/tmp", "--volume", f"{data}:/data",
                    *settings(KAFKA_BOOTSTRAP=broker.address, KAFKA_OFFSET_RESET="earliest", HEALTH_ADDR=f"127.0.0.1:{port}", LOG_LEVEL="warn",
                              FERMI_TLE_FILE="/absent"), IMAGE).strip()
    while not get(port, "/healthz"):
        time.sleep(0.001)
    healthy = time.time()
    state = json.loads(run("podman", "inspect", container))[0]["State"]
    # Python parses microseconds, Podman prints nanoseconds.
    begun = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", state["StartedAt"])).timestamp()
    return container, port, state["Pid"], healthy - begun


for stage in ("listener", "bridge"):
    print(f"image {stage}: {inspect(f'localhost/gwtm-{stage}:check')['Size'] / 1e6:.0f} MB")
logs = scratch / "logs"
logs.mkdir()
data = scratch / "data"
data.mkdir()
os.chown(data, 65532, 65532)
made = [scratch / f"{number}.json" for number in range(alerts)]
for number, alert in enumerate(made):
    # Letters of a day's superevents: a, b, …, z, aa, ab, …
    letters = (chr(96 + number // 26) if number >= 26 else "") + chr(97 + number % 26)
    run(newest("gwtm")[1], "simulate", "--superevent-id", f"S090102{letters}", "--seed", number, "--start-order", "4",
        "--out", alert)
broker = local.Kafka(logs)
times = []
for _ in range(STARTS):
    container, port, pid, took = start(broker)
    times.append(took)
    if len(times) < STARTS:
        run(*PODMAN, "rm", "--force", container)
print(f"start to first health: {statistics.median(times):.2f} s, median of {STARTS}")
try:
    time.sleep(10)
    print(f"memory at rest: {process(pid, 'VmRSS'):.0f} MiB")
    begun = time.monotonic()
    for alert in made:
        broker.send(alert)
    done = 0
    while done < alerts:
        found = re.search(r'^gwtm_notices_done_total\{topic="igwn.gwalert"\} (\d+)', get(port, "/metrics"), re.MULTILINE)
        done = int(found[1]) if found else 0
        if time.monotonic() - begun > LONGEST:
            sys.exit(f"weigh: expected {alerts} alerts done within {LONGEST} s, found {done}\n{get(port, '/metrics')}")
        time.sleep(0.05)
    print(f"{alerts} alerts of {made[0].stat().st_size / 1e6:.2f} MB at once: at most {process(pid, 'VmHWM'):.0f} MiB, "
          f"all done after {time.monotonic() - begun:.0f} s")
finally:
    subprocess.run([*PODMAN, "rm", "--force", container], capture_output=True)
