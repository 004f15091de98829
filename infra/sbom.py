"""Writes the software bill of materials of `gwtm` and `bridge`: their compiled dependencies, as CycloneDX 1.5.

    sbom.py FILE"""

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

workspace = Path(__file__).resolve().parent.parent
PROGRAMS = ("cli", "bridge")

metadata = json.loads(subprocess.run(
    ["cargo", "metadata", "--locked", "--all-features", "--format-version=1", "--filter-platform", "x86_64-unknown-linux-gnu"],
    cwd=workspace, capture_output=True, text=True, check=True).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
# Only linked dependencies, not those of build scripts and tests.
linked = {node["id"]: sorted(one["pkg"] for one in node["deps"] if any(kind["kind"] is None for kind in one["dep_kinds"]))
          for node in metadata["resolve"]["nodes"]}
# By regular expression: the release machines' Python may lack a TOML parser.
lock = re.findall(r'^name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"$', (workspace / "Cargo.lock").read_text(),
                  re.MULTILINE)
checksums = {(name, version): checksum for name, version, checksum in lock}


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


found, todo = set(), [one for one in metadata["workspace_members"] if packages[one]["name"] in PROGRAMS]
version = packages[todo[0]]["version"]
while todo:
    one = todo.pop()
    if one not in found:
        found.add(one)
        todo += linked[one]

components = []
for package in sorted((packages[one] for one in found), key=reference):
    component = {"type": "library", "bom-ref": reference(package), "name": package["name"], "version": package["version"],
                 "purl": reference(package), "licenses": [{"expression": package["license"].replace(" / ", "/").replace("/", " OR ")}]}
    if checksum := checksums.get((package["name"], package["version"])):
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    components.append(component)
root = f"pkg:generic/gwtm@{version}"
bill = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components))}",
    "version": 1,
    "metadata": {"component": {"type": "application", "bom-ref": root, "name": "gwtm", "version": version}},
    "components": components,
    "dependencies": [{"ref": root, "dependsOn": [f"pkg:cargo/{program}@{version}" for program in PROGRAMS]}]
    + [{"ref": reference(packages[one]), "dependsOn": [reference(packages[other]) for other in linked[one]]} for one in sorted(found)],
}
names = {component["name"] for component in components}
missing = {"rdkafka-sys", "fitsio-sys", "aws-sdk-s3", "rustls", *PROGRAMS} - names
if missing or "proptest" in names:
    sys.exit(f"sbom: expected {missing} among the linked dependencies, and no test dependency")
Path(sys.argv[1]).write_text(json.dumps(bill, indent=1) + "\n")
