"""Checks the dependencies offline: deny.toml's licences, bans and sources, and unused dependencies.

    check_dependencies.py

To keep a dependency that no source names, list it in its manifest, as for cargo-machete:
[package.metadata.cargo-machete] ignored = ["NAME"]."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

workspace = Path(__file__).resolve().parent.parent
rules = tomllib.loads((workspace / "deny.toml").read_text())
problems = []


def permitted(expression, allowed):
    """Whether the allowed licences satisfy an SPDX expression; `/` is an old form of OR."""
    tokens = re.findall(r"[()]|[^\s()/]+|/", expression)

    def either():
        found = both()
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            found = both() or found
        return found

    def both():
        found = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            found = one() and found
        return found

    def one():
        token = tokens.pop(0)
        if token == "(":
            found = either()
            tokens.pop(0)
            return found
        if tokens and tokens[0] == "WITH":
            token = f"{token} WITH {tokens[1]}"
            del tokens[:2]
        return token in allowed

    return either()


for expression, expected in [("MIT/GPL-3.0", True), ("MIT AND GPL-3.0", False), ("(GPL-3.0 OR ISC) AND MIT", True),
                             ("Apache-2.0 WITH LLVM-exception", False)]:
    assert permitted(expression, {"MIT", "ISC", "Apache-2.0"}) == expected, expression

metadata = subprocess.run(["cargo", "metadata", "--locked", "--all-features", "--format-version=1"], cwd=workspace,
                          capture_output=True, text=True)
if metadata.returncode:
    sys.exit(metadata.stderr)
metadata = json.loads(metadata.stdout)
packages = {package["id"]: package for package in metadata["packages"]}
used = {node["id"]: [packages[dependency]["name"] for dependency in node["dependencies"]]
        for node in metadata["resolve"]["nodes"]}

for package in packages.values():
    name = f"{package['name']} {package['version']}"
    if not package["license"] or not permitted(package["license"], set(rules["licenses"]["allow"])):
        problems.append(f"{name}: expected licences among {rules['licenses']['allow']}, found {package['license']}")
    source = (package["source"] or "").removeprefix("registry+")
    if source and source not in rules["sources"]["allow-registry"]:
        problems.append(f"{name}: expected a source among {rules['sources']['allow-registry']}, found {source}")
for ban in rules["bans"]["deny"]:
    for package, names in used.items():
        name = packages[package]["name"]
        if ban["crate"] in names and name not in ban.get("wrappers", []):
            problems.append(f"{name}: may not depend on {ban['crate']}: {ban['reason']}")

libraries = {package["name"]: target["name"].replace("-", "_") for package in packages.values()
             for target in package["targets"] if {"lib", "proc-macro", "rlib"} & set(target["kind"])}
for package in (packages[member] for member in metadata["workspace_members"]):
    folder = Path(package["manifest_path"]).parent
    text = "\n".join(path.read_text() for path in folder.rglob("*.rs"))
    ignored = ((package["metadata"] or {}).get("cargo-machete") or {}).get("ignored", [])
    for dependency in package["dependencies"]:
        crate = dependency["rename"] or libraries.get(dependency["name"], dependency["name"])
        if dependency["name"] not in ignored and not re.search(rf"\b{crate.replace('-', '_')}\b", text):
            problems.append(f"{package['name']}: depends on {dependency['name']}, and no source names it")

print("\n".join(problems))
sys.exit(bool(problems))
