"""Runs every function under Amazon's runtime interface emulator, which starts, times out and fails like Lambda.

    check_emulator.py EMULATOR PROGRAMS    the emulator's program, and a folder of built functions

Each function starts cold, handles a message of events/messages twice, and rejects an invalid one. A post that times out
while the GWTM handles it is found by the retry and not duplicated. Prints times and memory.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import local
from gwtm import Gwtm

MESSAGES = local.ROOT / "events/messages"
# Per function: a message, and whether it names a notice in the inbox.
CASES = {
    "ingest-ligo": ("ingest-ligo.retraction", True),
    "ingest-icecube": ("ingest-icecube.flat", True),
    "skymap-products": ("skymap-products.retraction", False),
    "galaxy-list": ("galaxy-list.retraction", False),
    "post-api": ("post-api.retraction", False),
    "annotate": ("annotate.retraction", False),
    "notify": ("notify.retraction", False),
    "audit": ("audit.hourly", False),
}
NOTICES = {"ingest-ligo": "S090102b-2-retraction.json", "ingest-icecube": "MS090105e-2-icecube-flat.json"}


class Emulated:
    """A function under the emulator; `close` ends both."""

    def __init__(self, emulator, program, settings, timeout):
        self.port, runtime, self.log = local.free_port(), local.free_port(), tempfile.TemporaryFile()
        # NAME, or NAME/bootstrap of `cargo lambda build`.
        name = program.parent.name if program.name == "bootstrap" else program.name
        # Without the caller's settings.
        environment = {"PATH": os.environ["PATH"], "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout), "AWS_LAMBDA_FUNCTION_NAME": name}
        addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{self.port}"]
        addresses += ["--runtime-api-address", f"127.0.0.1:{runtime}"]
        self.process = subprocess.Popen(
            [emulator, *addresses, program],
            env=environment | {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "LOG_FORMAT": "json"} | settings,
            cwd=local.ROOT,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        local.until("the emulator", lambda: local.listens(self.port))

    def invoke(self, message):
        """Invokes it; returns the response and the duration [ms]."""
        url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/function/invocations"
        begun = time.perf_counter()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=message, method="POST"), timeout=60) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as refused:
            text = refused.read().decode()
        took = (time.perf_counter() - begun) * 1e3
        try:
            return json.loads(text), took
        except ValueError:
            return text, took

    def memory_mb(self):
        """Peak resident memory of the function's process [MB]."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = children or [child for thread in threads for child in thread.read_text().split()]
        status = [Path(f"/proc/{child}/status").read_text() for child in children]
        return max((int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024 for text in status), default=0.0)

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def settings(folder, gracedb, api=None):
    given = dict(line.split("=", 1) for line in (MESSAGES / "environment").read_text().splitlines())
    given |= {"STORAGE_FOLDER": str(folder), "FERMI_FT2_URL": "none", "GRACEDB_URL": gracedb}
    if api:
        given |= {"API_BASE": api, "API_TOKEN": "token", "API_SETTLE_SECONDS": "1"}
    return given


def is_error(answer):
    return isinstance(answer, dict) and "errorType" in answer


def check(emulator, name, program, folder, server):
    case = (MESSAGES / f"{CASES[name][0]}.json").read_bytes()
    if CASES[name][1]:
        key = json.loads(case)["body"]["key"]
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(local.ROOT / "events/notices" / NOTICES[name], folder / key)
    function = Emulated(emulator, program, settings(folder, Gwtm.gracedb(server)), 60)
    try:
        first, cold = function.invoke(case)
        again, warm = function.invoke(case)
        wrong, _ = function.invoke(b'{"neither": "nor"}')
        print(f"{name}: cold {cold:.0f} ms, warm {warm:.1f} ms, {function.memory_mb():.0f} MB")
        if is_error(first) or is_error(again) or not isinstance(first, dict):
            sys.exit(f"{name}: expected answers, found {first} and {again}\n{function.said()[-3000:]}")
        if not is_error(wrong) or wrong["errorType"] != "Permanent":
            sys.exit(f"{name}: no message: expected the error `Permanent`, found {wrong}")
    finally:
        function.close()


def check_timeout(emulator, program, folder, server):
    """A post that is in the middle when its time is over."""
    Gwtm.holds = 4.0
    function = Emulated(emulator, program, settings(folder, Gwtm.gracedb(server), Gwtm.base(server)), 2)
    message = (MESSAGES / "post-api.retraction.json").read_bytes()
    try:
        answer, took = function.invoke(message)
        if Gwtm.posts != 1 or "timed out" not in str(answer).lower():
            sys.exit(f"time-out: expected one POST and `timed out`, found {Gwtm.posts}, {answer} after {took:.0f} ms\n{function.said()[-3000:]}")
        # The flow retries; meanwhile the GWTM stores the row.
        Gwtm.holds = 0.0
        begun = time.monotonic()
        while True:
            answer, _ = function.invoke(message)
            if not is_error(answer) and isinstance(answer, dict):
                break
            if time.monotonic() - begun > 60:
                sys.exit(f"time-out: expected an answer at last, found {answer}\n{function.said()[-3000:]}")
            time.sleep(0.5)
        if len(Gwtm.rows) != 1:
            sys.exit(f"time-out: expected one row, found {len(Gwtm.rows)} after {Gwtm.posts} posts")
        print(f"post-api: {took:.0f} ms: timed out during a post; one row after the retry")
    finally:
        function.close()


def main():
    emulator, programs = sys.argv[1:]
    find = local.programs(Path(programs))
    # In this order, since `notify` reads what `annotate` writes.
    folder, server = local.folder("gwtm-emulator-"), Gwtm.start()
    for name in CASES:
        check(emulator, name, find(name), folder, server)
    check_timeout(emulator, find("post-api"), local.folder("gwtm-emulator-"), server)


main()
