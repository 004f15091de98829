"""Runs infra/push-image with stand-ins for Docker, Podman and the AWS command line, and compares their calls.

    check_push_image.py FOLDER    an empty folder for the stand-ins
"""

import shutil
import subprocess
import sys
from pathlib import Path

import stack

REGISTRY = "123456789012.dkr.ecr.us-east-2.amazonaws.com"
IMAGE = f"{REGISTRY}/gwtm-bridge:1"
# Prints a password as `aws` and reads one for `login`; logs folder, name and arguments. Fails as the file `fails` names it.
STAND_IN = """#!/usr/bin/env bash
name=$(basename "$0") read=""
[ "$name" = aws ] || [ "$1" != login ] || read=" <$(cat)"
echo "$PWD $name $*$read" >>"$CALLS"
[ "$name" != aws ] || echo password
[ "$name $1" != "${FAILS:-}" ]
"""


def run(folder, engine, words, fails=""):
    """Runs push-image with an engine; returns its exit code and the calls in the workspace's folder."""
    programs, calls = folder / engine, folder / "calls"
    programs.mkdir(exist_ok=True)
    calls.write_text("")
    for tool in ("bash", "basename", "cat", "dirname"):
        if not (programs / tool).exists():
            (programs / tool).symlink_to(shutil.which(tool))
    for name in (engine, "aws"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    environment = {"PATH": str(programs), "CALLS": str(calls), "FAILS": fails}
    ended = subprocess.run([stack.INFRA / "push-image", *words], env=environment, capture_output=True, text=True, cwd="/")
    lines = calls.read_text().splitlines()
    return ended.returncode, [line.removeprefix(f"{stack.INFRA.resolve().parent} ") for line in lines]


def expected(engine, platform, options=""):
    return [
        f"{engine} build {options}--platform {platform} --file infra/Containerfile --target bridge --tag {IMAGE} .",
        "aws ecr get-login-password --region us-east-2",
        f"{engine} login --username AWS --password-stdin {REGISTRY} <password",
        f"{engine} push {IMAGE}",
    ]


def main():
    folder = Path(sys.argv[1])
    docker, arm = expected("docker", "linux/amd64"), expected("docker", "linux/arm64")
    cases = {
        "docker": (run(folder, "docker", [IMAGE]), (0, docker)),
        "another platform": (run(folder, "docker", [IMAGE, "linux/arm64"]), (0, arm)),
        "podman": (run(folder, "podman", [IMAGE]), (0, expected("podman", "linux/amd64", "--format docker "))),
        "a failed build": (run(folder, "docker", [IMAGE], "docker build"), (1, docker[:1])),
        "no password": (run(folder, "docker", [IMAGE], "aws ecr"), (1, docker[:3])),
        "another registry": (run(folder, "docker", ["ghcr.io/example/gwtm-bridge:1"]), (2, [])),
        "no tag": (run(folder, "docker", [f"{REGISTRY}/gwtm-bridge"]), (2, [])),
    }
    wrong = [f"{name}: expected exit code and calls {wanted}, found {found}" for name, (found, wanted) in cases.items() if found != wanted]
    print("\n".join(wrong))
    sys.exit(bool(wrong))


main()
