"""Builds and runs images, for check_image.py and check_package.py. Needs root, buildah, podman with runc, and
debootstrap, which makes the Debian base image from this machine's mirror; the user's cache folder keeps it."""

import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parent.parent
cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "treasure-map-functions"
# Rootful crun fails under the limits of some sandboxes; runc works.
PODMAN = ["podman", "--runtime", "runc"]
RUN = [*PODMAN, "run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "host"]


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def expect(holds, text):
    if not holds:
        sys.exit(text)


def ensure_base(image):
    """Makes the base image unless it exists: `docker.io/library/debian:RELEASE-slim`. One of several checks makes it."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_base(image)


def make_base(image):
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
            partial = kept.with_suffix(f".{os.getpid()}")
            run("tar", "-C", folder, "--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*",
                "-cf", partial, ".")
            partial.rename(kept)
    run("podman", "import", kept, image)


def build(image, context, *options):
    """Builds an image, replacing one of the same name; returns the engine's description."""
    before = subprocess.run(["podman", "image", "inspect", "--format", "{{.Id}}", image], capture_output=True, text=True)
    run("buildah", "bud", "--isolation", "chroot", "--pull-never", "--layers", "--format", "docker", "-t", image, *options,
        context)
    about = inspect(image)
    if before.returncode == 0 and before.stdout.strip() != about["Id"]:
        subprocess.run(["podman", "image", "rm", before.stdout.strip()], capture_output=True)
    return about


def inspect(image):
    return json.loads(run("podman", "image", "inspect", image))[0]


def newest(name):
    """The newest build of a program: its profile and path."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", WORKSPACE / "target"))
    found = [(profile, target / folder / name) for profile, folder in (("release", "release"), ("dev", "debug"))]
    found = [(profile, path) for profile, path in found if path.exists()]
    expect(found, f"expected {target}/debug/{name}: run cargo build --workspace --bins")
    return max(found, key=lambda one: one[1].stat().st_mtime)


def settings(**environment):
    return [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
