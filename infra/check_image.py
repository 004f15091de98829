"""Builds both images with programs that are built already, and runs them: a listener takes a notice from a broker to its
products on a read-only root, answers as healthy, and stops within its grace.

    check_image.py SCRATCH    an empty folder

Needs root, buildah, podman, runc and debootstrap. The base is Debian's release as the Containerfile names it, made by
debootstrap from this machine's own mirror, and kept in the user's cache."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import local

infra = Path(__file__).resolve().parent
workspace = infra.parent
scratch = Path(sys.argv[1])
cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "treasure-map-functions"
# Rootful crun and the limits of some sandboxes do not agree; runc takes what it is given.
RUN = ["podman", "--runtime", "runc", "run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
       "--network", "host", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
# Most that a program and its libraries may add to the base [bytes].
MOST = 120_000_000


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def expect(holds, text):
    if not holds:
        sys.exit(text)


def ensure_base(image):
    """Makes the base image unless it is there: `docker.io/library/debian:RELEASE-slim`."""
    if subprocess.run(["podman", "image", "exists", image], capture_output=True).returncode == 0:
        return
    release = re.fullmatch(r"docker\.io/library/debian:(\w+)-slim", image)[1]
    kept = cache / f"debian-{release}.tar"
    if not kept.exists():
        sources = "\n".join(path.read_text() for path in Path("/etc/apt").rglob("*.sources")) + \
            "\n".join(path.read_text() for path in Path("/etc/apt").rglob("*.list"))
        mirror = re.search(r"https?://\S+/debian/?(?=\s)", sources)
        with tempfile.TemporaryDirectory() as folder:
            run("debootstrap", "--variant=minbase", release, folder, *([mirror[0]] if mirror else []))
            cache.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(f".{os.getpid()}")
            run("tar", "-C", folder, "--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*",
                "-cf", partial, ".")
            partial.rename(kept)
    run("podman", "import", kept, image)


def build(stage):
    """Builds a stage of the Containerfile, with this machine's programs instead of the stage that compiles them."""
    image = f"localhost/gwtm-{stage}:check"
    run("buildah", "bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "--target", stage, "-t", image,
        "-f", scratch / "Containerfile", scratch / "context")
    return image, json.loads(run("podman", "image", "inspect", image))[0]


# The programs that `cargo build` has made, release before debug, without their symbols.
target = Path(os.environ.get("CARGO_TARGET_DIR", workspace / "target"))
(scratch / "context/programs").mkdir(parents=True)
for name in ("gwtm", "bridge"):
    found = [target / profile / name for profile in ("release", "debug") if (target / profile / name).exists()]
    expect(found, f"expected {target}/debug/{name}: run cargo build --workspace --bins")
    newest = max(found, key=lambda program: program.stat().st_mtime)
    run("objcopy", "--strip-all", newest, scratch / "context/programs" / name)

text = (infra / "Containerfile").read_text()
compiling, rest = re.fullmatch(r"(.*?^FROM \S+ AS build\n.*?)(^FROM .*)", text, re.MULTILINE | re.DOTALL).groups()
(scratch / "Containerfile").write_text("FROM scratch AS build\nCOPY programs /programs\n\n" + rest)
for source in re.findall(r"^COPY (?!--)(\S+)", rest, re.MULTILINE):
    copied = scratch / "context" / source
    copied.parent.mkdir(parents=True, exist_ok=True)
    copied.write_bytes((workspace / source).read_bytes())
[base] = re.findall(r"^FROM (\S+) AS base", rest, re.MULTILINE)
ensure_base(base)
base_size = json.loads(run("podman", "image", "inspect", base))[0]["Size"]

for stage, program in (("bridge", "bridge"), ("listener", "gwtm")):
    image, about = build(stage)
    config = about["Config"]
    expect(config["User"] == "65532:65532", f"{image}: expected an unprivileged user, found {config['User']}")
    expect(config["Entrypoint"] == [program], f"{image}: starts {config['Entrypoint']}")
    expect(about["HealthCheck" if "HealthCheck" in about else "Healthcheck"]["Test"] == ["CMD", program, "healthy"],
           f"{image}: no health check")
    for label in ("title", "description", "licenses", "version"):
        expect(config["Labels"].get(f"org.opencontainers.image.{label}"), f"{image}: no label {label}")
    version = run(*RUN, "--rm", image, "--version").split()
    expect(config["Labels"]["org.opencontainers.image.version"] == version[-1], f"{image}: holds version {version}")
    print(f"{stage}: {(about['Size'] - base_size) / 1e6:.0f} MB over {base}'s {base_size / 1e6:.0f} MB")

# A notice through the listener, which runs as it does on Kubernetes.
listener = "localhost/gwtm-listener:check"
logs, data = scratch / "logs", scratch / "data"
logs.mkdir()
data.mkdir()
os.chown(data, 65532, 65532)
broker = local.Kafka(logs)
port = local.free_port()
settings = {"KAFKA_BOOTSTRAP": broker.address, "HEALTH_ADDR": f"0.0.0.0:{port}", "FERMI_TLE_FILE": "/events/fermi.tle",
            "FERMI_FT2_DIR": "/events", "PATH_TO_GALAXY_CATALOG_CONFIG": "/app/gal_catalog_config.ini",
            "CATALOG_PATH": "/events/catalog.csv"}
environment = [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
begun = time.monotonic()
container = run(*RUN, "--detach", "--volume", f"{data}:/data", "--volume", f"{workspace}/events:/events:ro",
                *environment, listener).strip()
try:
    def is_healthy():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200
        except OSError:
            return False

    local.until("the listener's health", is_healthy)
    healthy = time.monotonic() - begun
    run("podman", "--runtime", "runc", "healthcheck", "run", container)
    broker.send(workspace / "events/notices/S090101a-4-initial.json")
    products = [data / f"fit/S090101a-{name}" for name in ("Initial_alert.json", "Initial.fits.gz", "latest.json")]
    local.until("the products", lambda: all(product.exists() for product in products))
    run("podman", "--runtime", "runc", "stop", "--time", "30", container)
    code = json.loads(run("podman", "inspect", container))[0]["State"]["ExitCode"]
    expect(code == 0, f"listener: expected to stop by itself within 30 s of SIGTERM, found exit code {code}")
    print(f"listener: healthy after {healthy:.1f} s, a notice processed, stopped within its grace")
except BaseException:
    subprocess.run(["podman", "logs", container])
    raise
finally:
    subprocess.run(["podman", "--runtime", "runc", "rm", "--force", container], capture_output=True)
