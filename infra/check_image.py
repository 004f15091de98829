"""Builds both images from built programs and runs them on a read-only root with a broker: listener and bridge report
healthy, the listener processes a notice, and both stop within their grace period.

    check_image.py SCRATCH              an empty folder
    check_image.py SCRATCH --compile    compiles in a container, as Containerfile does: ten minutes or more; not part of
                                        infra/check

Needs the programs of containers.py."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import local
from containers import PODMAN, RUN, WORKSPACE, build, ensure_base, expect, inspect, newest, run, settings

scratch = Path(sys.argv[1])
# Maximum size that program, libraries and certificates add to the base image [bytes], by the program's profile: a
# development build of gwtm is a fifth larger. infra/weigh and the workflow CI build release programs.
MOST = {"release": 60_000_000, "dev": 70_000_000}
ARN = "arn:aws:states:us-east-2:123456789012:stateMachine:gwtm-"
HARDENED = [*RUN, "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"]

text = (WORKSPACE / "infra/Containerfile").read_text()


def compile_images():
    """Compiles both targets, with this machine's toolchain as the Rust base image."""
    [rust, base] = re.findall(r"^FROM (docker\S+) AS", text, re.MULTILINE)
    ensure_base(base)
    toolchain = scratch / "rust"
    toolchain.mkdir()
    sysroot = Path(run("rustc", "--print", "sysroot").strip())
    found = run("rustc", "--version").split()[1]
    expect(f":{found}-" in rust, f"{rust}: this machine has Rust {found}")
    for folder in ("bin", "lib"):
        run("cp", "-a", sysroot / folder, toolchain / folder)
    run("cp", "/etc/ssl/certs/ca-certificates.crt", toolchain)
    (toolchain / "Containerfile").write_text(
        f"FROM {base}\nCOPY ca-certificates.crt /etc/ssl/certs/\nCOPY bin /usr/local/rust/bin\nCOPY lib /usr/local/rust/lib\n"
        "ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/usr/local/cargo\n")
    local_rust = "localhost/gwtm-rust:check"
    build(local_rust, toolchain)
    (scratch / "Containerfile").write_text(text.replace(rust, local_rust))
    base_size = inspect(base)["Size"]
    for stage, program in (("bridge", "bridge"), ("listener", "gwtm")):
        image = f"localhost/gwtm-{stage}:compiled"
        begun = time.monotonic()
        about = build(image, WORKSPACE, "--target", stage, "-f", scratch / "Containerfile")
        took = time.monotonic() - begun
        added = about["Size"] - base_size
        expect(added <= MOST["release"], f"{image}: expected at most {MOST['release']} bytes over {base}, found {added}")
        version = run(*HARDENED, "--rm", image, "--version").strip()
        print(f"{stage}: {version}, {added / 1e6:.0f} MB over {base}'s {base_size / 1e6:.0f} MB, built in {took:.0f} s")


if sys.argv[2:] == ["--compile"]:
    compile_images()
    sys.exit()

# Stripped programs.
(scratch / "context/programs").mkdir(parents=True)
for name in ("gwtm", "bridge"):
    run("objcopy", "--strip-all", newest(name)[1], scratch / "context/programs" / name)

compiling, rest = re.fullmatch(r"(.*?^FROM \S+ AS build\n.*?)(^FROM .*)", text, re.MULTILINE | re.DOTALL).groups()
(scratch / "Containerfile").write_text("FROM scratch AS build\nCOPY programs /programs\n\n" + rest)
for source in re.findall(r"^COPY (?!--)(\S+)", rest, re.MULTILINE):
    copied = scratch / "context" / source
    copied.parent.mkdir(parents=True, exist_ok=True)
    copied.write_bytes((WORKSPACE / source).read_bytes())
[base] = re.findall(r"^FROM (\S+) AS base", rest, re.MULTILINE)
ensure_base(base)
base_size = inspect(base)["Size"]

for stage, program in (("bridge", "bridge"), ("listener", "gwtm")):
    image = f"localhost/gwtm-{stage}:check"
    about = build(image, scratch / "context", "--target", stage, "-f", scratch / "Containerfile")
    config = about["Config"]
    expect(config["User"] == "65532:65532", f"{image}: expected an unprivileged user, found {config['User']}")
    expect(config["Entrypoint"] == [program], f"{image}: starts {config['Entrypoint']}")
    expect(about["HealthCheck" if "HealthCheck" in about else "Healthcheck"]["Test"] == ["CMD", program, "healthy"],
           f"{image}: no health check")
    for label in ("title", "description", "licenses", "version"):
        expect(config["Labels"].get(f"org.opencontainers.image.{label}"), f"{image}: no label {label}")
    version = run(*HARDENED, "--rm", image, "--version").split()
    expect(config["Labels"]["org.opencontainers.image.version"] == version[-1], f"{image}: holds version {version}")
    added = about["Size"] - base_size
    most = MOST[newest(program)[0]]
    expect(added <= most, f"{image}: expected at most {most} bytes over {base}, found {added}")
    print(f"{stage}: {added / 1e6:.0f} MB over {base}'s {base_size / 1e6:.0f} MB")

# Both run as on Kubernetes, and the listener processes a notice.
logs, data = scratch / "logs", scratch / "data"
logs.mkdir()
data.mkdir()
os.chown(data, 65532, 65532)
broker = local.Kafka(logs)
containers = {}


def is_healthy(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200
    except OSError:
        return False


def start(name, **environment):
    """Starts an image, and waits until it is healthy."""
    port, begun = local.free_port(), time.monotonic()
    variables = settings(KAFKA_BOOTSTRAP=broker.address, KAFKA_OFFSET_RESET="earliest", HEALTH_ADDR=f"0.0.0.0:{port}", **environment)
    containers[name] = run(*HARDENED, "--detach", "--volume", f"{data}:/data", "--volume", f"{WORKSPACE}/events:/events:ro",
                           *variables, f"localhost/gwtm-{name}:check").strip()
    local.until(f"the {name}'s health", lambda: is_healthy(port))
    print(f"{name}: healthy after {time.monotonic() - begun:.1f} s")
    run(*PODMAN, "healthcheck", "run", containers[name])


def stop(name):
    run(*PODMAN, "stop", "--time", "30", containers[name])
    code = json.loads(run("podman", "inspect", containers[name]))[0]["State"]["ExitCode"]
    expect(code == 0, f"{name}: expected to stop by itself within 30 s of SIGTERM, found exit code {code}")


try:
    flows = {f"{name}_FLOW_ARN": f"{ARN}{name.lower()}" for name in ("LIGO", "ICECUBE")}
    start("bridge", KAFKA_GROUP_ID="bridge", **local.CREDENTIALS, **flows)
    stop("bridge")
    start("listener", FERMI_TLE_FILE="/events/fermi.tle", FERMI_FT2_DIR="/events", SWIFT_POINTING_URL="none",
          AUDIT_INTERVAL_MINUTES=0, CATALOG_PATH="/events/catalog.csv",
          PATH_TO_GALAXY_CATALOG_CONFIG="/app/gal_catalog_config.ini")
    broker.send(WORKSPACE / "events/notices/S090101a-4-initial.json")
    products = [data / f"fit/S090101a-{name}" for name in ("Initial_alert.json", "Initial.fits.gz", "latest.json")]
    local.until("the products", lambda: all(product.exists() for product in products))
    stop("listener")
    print("listener: a notice processed")
except BaseException:
    for container in containers.values():
        subprocess.run(["podman", "logs", container])
    raise
finally:
    for container in containers.values():
        subprocess.run([*PODMAN, "rm", "--force", container], capture_output=True)
