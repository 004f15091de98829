"""Holds the Containerfile to the workspace: what is copied is there and enough for cargo, what is built has the features
and programs that are named.

    check_container.py SCRATCH    an empty folder, which the files are copied into"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

infra = Path(__file__).resolve().parent
workspace = infra.parent
scratch = Path(sys.argv[1])
problems = []


def expect(holds, text):
    if not holds:
        problems.append(text)


# Instructions, each in one line.
containerfile = re.sub(r"\\\n\s*", "", (infra / "Containerfile").read_text())
lines = [line.split() for line in containerfile.splitlines() if line and not line.startswith("#")]
stages = {words[3]: words[1] for words in lines if words[0] == "FROM"}

for name, base in stages.items():
    pinned = base in stages or re.search(r":[\w.-]+$", base) and not base.endswith(":latest")
    expect(pinned, f"stage {name}: expected a base with a tag, found {base}")
manifest = tomllib.loads((workspace / "Cargo.toml").read_text())
version = manifest["workspace"]["package"]["rust-version"]
expect(f"rust:{version}." in stages["build"], f"stage build: expected Rust {version}, found {stages['build']}")

# What is copied is a workspace that cargo takes.
for words in lines:
    if words[0] != "COPY" or words[1].startswith("--"):
        continue
    for source in words[1:-1]:
        # What goes into the last stages is no part of the workspace.
        if words[-1].startswith("/"):
            expect((workspace / source).exists(), f"COPY {source}: it is not there")
            continue
        target = scratch / words[-1] / (Path(source).name if words[-1].endswith("/") else "")
        if not (workspace / source).exists():
            problems.append(f"COPY {source}: it is not there")
        elif (workspace / source).is_dir():
            shutil.copytree(workspace / source, target, ignore=shutil.ignore_patterns("target"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(workspace / source, target)
metadata = subprocess.run(["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"], cwd=scratch,
                          capture_output=True, text=True)
expect(metadata.returncode == 0, f"cargo metadata: {metadata.stderr}")
packages = {package["name"]: package for package in json.loads(metadata.stdout or '{"packages": []}')["packages"]}

# What is copied is what the engine is given.
given = [line[1:] for line in (workspace / ".containerignore").read_text().split() if line.startswith("!")]
for words in lines:
    for source in words[1:-1] if words[0] == "COPY" and not words[1].startswith("--") else []:
        expect(any(Path(source).is_relative_to(one) for one in given), f".containerignore leaves out {source}")

# What is built is what is copied into the images, and what they start.
build = next(words for words in lines if words[:1] == ["RUN"] and "cargo" in words)
for flag, found in zip(build, build[1:]):
    if flag == "--package":
        expect(found in packages, f"cargo build --package {found}: no such package")
    if flag == "--features":
        package, feature = found.split("/")
        features = packages.get(package, {"features": {}})["features"]
        expect(feature in features, f"cargo build --features {found}: no such feature")
programs = {target["name"] for package in packages.values() for target in package["targets"] if "bin" in target["kind"]}
installed = [Path(word).name for word in build if word.startswith("target/release/")]
copied = [Path(words[2]).name for words in lines if words[0] == "COPY" and words[1].startswith("--from")]
started = [json.loads(words[1])[0] for words in lines if words[0] == "ENTRYPOINT"]
expect(set(installed) <= programs, f"expected programs of the workspace, found {installed}")
expect(sorted(installed) == sorted(copied) == sorted(started), f"{installed}, {copied} and {started} differ")

print("\n".join(problems))
sys.exit(bool(problems))
