"""Runs compose.yaml with podman-compose: both listeners with .env.example and a broker, a notice through each, and down.

    check_compose.py SCRATCH    an empty folder

Needs what containers.py needs, and the image that check_image.py has built."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import yaml

import local
from containers import WORKSPACE, expect, run

scratch = Path(sys.argv[1])
text = (WORKSPACE / "compose.yaml").read_text()
(scratch / "compose.yaml").write_text(text)
services = yaml.safe_load(text)["services"]
tables = (WORKSPACE / "docs/settings.md").read_text()
settings = set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", tables, re.MULTILINE))
for name, service in services.items():
    for setting in service.get("environment", {}) if "kafka" not in service["image"] else []:
        expect(setting in settings, f"compose.yaml, {name}: {setting} is no setting")

# The documents' commands name what is there.
commands = re.findall(r"^docker compose (.*?)(?:\s+#.*)?$", (WORKSPACE / "README.md").read_text()
                      + (WORKSPACE / "infra/README.md").read_text(), re.MULTILINE)
expect(len(commands) >= 4, f"README.md: expected commands of compose, found {commands}")
profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
for command in commands:
    words = command.split()
    named = {words[i + 1] for i, word in enumerate(words) if word == "--profile"}
    expect(named <= profiles, f"docker compose {command}: no such profile")
    verb = next(i for i, word in enumerate(words) if word in ("up", "run"))
    services_named = [word for word in words[verb + 1:] if not word.startswith("-")][:1]
    expect(all(name in services for name in services_named), f"docker compose {command}: no such service")

logs = scratch / "logs"
logs.mkdir()
broker = local.Kafka(logs)
(scratch / ".env").write_text((WORKSPACE / ".env.example").read_text() + f"KAFKA_BOOTSTRAP={broker.address}\n"
                             "KAFKA_OFFSET_RESET=earliest\n")
listeners = {"ligo-listener": ("S090101a-4-initial.json", "fit/S090101a-Initial.fits.gz"),
             "icecube-listener": ("S090101a-6-icecube-nested.json", "work/")}
ports = {name: local.free_port() for name in listeners}
# This machine's broker is reached on the host's network, and its limits may not be raised.
override = {name: {"network_mode": "host", "ports": [], "ulimits": {"nofile": 1024, "nproc": 1024},
                   "environment": {"HEALTH_ADDR": f"127.0.0.1:{port}"}} for name, port in ports.items()}
(scratch / "override.yaml").write_text(json.dumps({"services": override}))
project = f"gwtm-check-{os.getpid()}"
compose = [Path(sys.executable).with_name("podman-compose"), "--podman-args=--runtime=runc", "--project-name", project,
           "-f", scratch / "compose.yaml", "-f", scratch / "override.yaml"]
environment = os.environ | {"GWTM_IMAGE": "localhost/gwtm-listener:check"}


def objects():
    folder = json.loads(run("podman", "volume", "inspect", f"{project}_store"))[0]["Mountpoint"]
    return [str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()]


try:
    run(*compose, "up", "--detach", "--no-build", *listeners, env=environment)
    for name, (notice, product) in listeners.items():
        def is_healthy():
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{ports[name]}/healthz", timeout=5).status == 200
            except OSError:
                return False

        local.until(f"{name}'s health", is_healthy)
        broker.send(WORKSPACE / "events/notices" / notice)
        local.until(f"{name}'s products", lambda: any(key.startswith(product) for key in objects()))
    run(*compose, "stop", "--timeout", "30", *listeners, env=environment)
    for container in run("podman", "ps", "--all", "--quiet", "--filter", f"label=io.podman.compose.project={project}").split():
        state = json.loads(run("podman", "inspect", container))[0]["State"]
        expect(state["ExitCode"] == 0, f"{container}: expected to stop by itself, found exit code {state['ExitCode']}")
    print(f"compose: {len(objects())} objects of two notices")
except BaseException:
    subprocess.run([*map(str, compose), "logs"], env=environment)
    raise
finally:
    subprocess.run([*map(str, compose), "down", "--volumes"], env=environment, capture_output=True)
