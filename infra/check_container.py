"""Checks the Containerfile against the workspace: the copied files exist and suffice for cargo, and the built packages
have the named features and programs.

    check_container.py SCRATCH    an empty folder for the copied files"""

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


# The instructions, with continuation lines joined.
containerfile = re.sub(r"\\\n\s*", "", (infra / "Containerfile").read_text())
lines = [line.split() for line in containerfile.splitlines() if line and not line.startswith("#")]
stages = {words[3]: words[1] for words in lines if words[0] == "FROM"}

for name, base in stages.items():
    pinned = base in stages or re.search(r":[\w.-]+$", base) and not base.endswith(":latest")
    expect(pinned, f"stage {name}: expected a base with a tag, found {base}")
manifest = tomllib.loads((workspace / "Cargo.toml").read_text())
version = manifest["workspace"]["package"]["rust-version"]
expect(f"rust:{version}." in stages["build"], f"stage build: expected Rust {version}, found {stages['build']}")

# cargo accepts the copied files as a workspace.
for words in lines:
    if words[0] != "COPY" or words[1].startswith("--"):
        continue
    for source in words[1:-1]:
        # The final stages copy no workspace files.
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

# .dockerignore does not exclude copied files.
given = [line[1:] for line in (workspace / ".containerignore").read_text().split() if line.startswith("!")]
for words in lines:
    for source in words[1:-1] if words[0] == "COPY" and not words[1].startswith("--") else []:
        expect(any(Path(source).is_relative_to(one) for one in given), f".containerignore leaves out {source}")

# The images copy and start programs that are built.
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
