"""Checks the Helm chart: it lints, its output matches Kubernetes' schemas and this software's settings, the plain
manifests are its output, and values files and Secrets of the older listeners' chart work unchanged.

    check_chart.py HELM SCRATCH    SCRATCH: an empty folder for the output"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml

infra = Path(__file__).resolve().parent
workspace = infra.parent
helm, scratch = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
chart = infra / "helm"
problems = []
KUBERNETES = "1.31"


def expect(holds, text):
    if not holds:
        problems.append(text)


def run(*command):
    done = subprocess.run([helm, *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        problems.append(f"helm {' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def template(name, *options):
    """Renders the chart as {(kind, name): object}, and checks the schemas."""
    found = {}
    for document in yaml.safe_load_all(run("template", "gwtm", chart, *options)):
        key = document["kind"], document["metadata"]["name"]
        expect(key not in found, f"{name}: {key} twice")
        found[key] = document
        # A kind of the Prometheus operator, without a schema in Kubernetes.
        if document["kind"] != "ServiceMonitor":
            try:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{name}: {key}: {error.message}")
    return found


def environment(deployment):
    """NAME: value, or (secret, key)."""
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    found = {}
    for entry in container["env"]:
        expect(entry["name"] not in found, f"{container['name']}: {entry['name']} twice")
        source = entry.get("valueFrom", {}).get("secretKeyRef")
        found[entry["name"]] = (source["name"], source["key"]) if source else entry["value"]
    return found


tables = (workspace / "docs/settings.md").read_text()
settings = set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", tables, re.MULTILINE))
expect(len(settings) > 40, f"expected the tables of settings, found {len(settings)}")
version = tomllib.loads((workspace / "Cargo.toml").read_text())["workspace"]["package"]["version"]
about = yaml.safe_load((chart / "Chart.yaml").read_text())
expect(about["version"] == about["appVersion"] == version, f"Chart.yaml: expected version {version}, found {about}")
containerfile = (infra / "Containerfile").read_text()
stages = set(re.findall(r"^FROM \S+ AS (\S+)", containerfile, re.MULTILINE))

values = sorted((chart / "ci").glob("*-values.yaml"))
run("lint", "--strict", chart)
rendered = {"defaults": template("defaults")}
for path in values:
    run("lint", "--strict", chart, "--values", path)
    rendered[path.stem] = template(path.stem, "--values", path)

# The pods' invariants, for all values.
for name, objects in rendered.items():
    deployments = {key[1]: document for key, document in objects.items() if key[0] == "Deployment"}
    groups = [environment(deployment).get("KAFKA_GROUP_ID") for deployment in deployments.values()
              if "listener" in deployment["metadata"]["name"]]
    expect(len(groups) == 2 and len(set(groups)) == 1, f"{name}: expected two listeners in one group, found {groups}")
    for deployment_name, deployment in deployments.items():
        where = f"{name}, {deployment_name}"
        spec = deployment["spec"]
        expect((spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"}), f"{where}: two at once")
        pod = spec["template"]["spec"]
        expect(pod["terminationGracePeriodSeconds"] > 25, f"{where}: less time than it takes to stop")
        [container] = pod["containers"]
        expect(container["securityContext"]["readOnlyRootFilesystem"], f"{where}: the root is writable")
        env = environment(deployment)
        for setting in env:
            expect(setting in settings, f"{where}: {setting} is no setting")
        port = container["ports"][0]["containerPort"]
        expect(env["HEALTH_ADDR"] == f"0.0.0.0:{port}", f"{where}: HEALTH_ADDR is {env['HEALTH_ADDR']}, the port {port}")
        for probe in ("readinessProbe", "livenessProbe"):
            get = container[probe]["httpGet"]
            expect(get == {"path": "/healthz", "port": "health"}, f"{where}, {probe}: {get}")
        service = objects["Service", deployment_name]
        for selector in (spec["selector"]["matchLabels"], service["spec"]["selector"]):
            expect(selector.items() <= spec["template"]["metadata"]["labels"].items(), f"{where}: {selector} selects nothing")
        expect(all(entry["metadata"]["namespace"] for entry in objects.values()), f"{where}: no namespace")

# The older chart's names are kept: Deployments, selectors, the Secret's name and keys, environment variables.
objects = rendered["operator-values"]
for listener, topic, group in [("ligo-listener", "igwn.gwalert", "treasuremap-prod"),
                               ("icecube-listener", "gcn.notices.icecube.lvk_nu_track_search", "treasuremap-prod")]:
    deployment = objects["Deployment", f"gwtm-{listener}"]
    expect(deployment["metadata"]["namespace"] == "listeners-ns", f"{listener}: {deployment['metadata']}")
    expect(deployment["spec"]["selector"] == {"matchLabels": {"app": listener}}, f"{listener}: the selector changed")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    expect(container["args"] == ["listen", "--topic", topic], f"{listener}: {container['args']}")
    expect(container["image"] == "registry.example.org/gwtm-listener:1.1.0-rc1", f"{listener}: {container['image']}")
    expect(pod["nodeSelector"] and pod["tolerations"], f"{listener}: where it may run is lost")
    secret = "gwtm-listener-secrets"
    expected = {
        "KAFKA_CLIENT_ID": (secret, "kafka-client-id"), "KAFKA_CLIENT_SECRET": (secret, "kafka-client-secret"),
        "API_BASE": "http://192.0.2.5:8000/api/v1/", "API_TOKEN": (secret, "api-token"),
        "STORAGE_BUCKET_SOURCE": "swift", "OS_AUTH_URL": "https://keystone.example.org:5000/v3",
        "OS_STORAGE_URL": "https://swift.example.org:8001/swift/v1", "OS_USERNAME": (secret, "swift-username"),
        "OS_PASSWORD": (secret, "swift-password"), "OS_PROJECT_NAME": "PROJECT", "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default", "OS_CONTAINER_NAME": "gwtreasuremap", "OBSERVING_RUN": "O4",
        "DRY_RUN": "false", "WRITE_TO_STORAGE": "true", "VERBOSE": "false", "LOG_FORMAT": "json",
        "LOG_LEVEL": "WARNING", "KAFKA_OFFSET_RESET": "latest", "KAFKA_GROUP_ID": group,
        "PATH_TO_GALAXY_CATALOG_CONFIG": "/app/gal_catalog_config.ini", "HEALTH_ADDR": "0.0.0.0:8080",
    }
    found = environment(deployment)
    for setting in sorted(expected.keys() | found.keys()):
        expect(found.get(setting) == expected.get(setting),
               f"{listener}, {setting}: expected {expected.get(setting)}, found {found.get(setting)}")
expect(objects["Deployment", "gwtm-ligo-listener"]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
       == "12Gi", "the operator's resources are lost")
expect(not any(kind == "Secret" for kind, _ in objects), "expected no Secret beside the operator's own")
expect("\nCOPY infra/gal_catalog_config.ini /app/\n" in containerfile, "Containerfile: no /app/gal_catalog_config.ini")

# The chart's own Secret has the keys that the pods read, with every store, and no others.
everything = chart / "ci/everything-values.yaml"
for store in ("s3", "swift", "abfs"):
    objects = template(f"everything with {store}", "--values", everything, "--set", f"listeners.storage.type={store}")
    read = {source for source in environment(objects["Deployment", "gwtm-ligo-listener"]).values() if not isinstance(source, str)}
    made = {("gwtm-listener-secrets", key) for key in objects["Secret", "gwtm-listener-secrets"]["data"]}
    expect(read == made, f"everything with {store}: the pods read {sorted(read)}, the Secret has {sorted(made)}")

# All optional objects are rendered, and select what they are for.
objects = rendered["everything-values"]
pods = {name: document["spec"]["template"] for (kind, name), document in objects.items() if kind == "Deployment"}
for name, pod in pods.items():
    labels = pod["metadata"]["labels"].items()
    expect(objects["NetworkPolicy", "gwtm"]["spec"]["podSelector"]["matchLabels"].items() <= labels,
           f"everything: the NetworkPolicy does not select {name}")
    selecting = [budget for (kind, budget), document in objects.items() if kind == "PodDisruptionBudget"
                 and document["spec"]["selector"]["matchLabels"].items() <= labels]
    expect(selecting == [name], f"everything: expected one PodDisruptionBudget of {name}, found {selecting}")
    service, monitor = objects["Service", name], objects["ServiceMonitor", "gwtm"]["spec"]
    expect(monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items(),
           f"everything: the ServiceMonitor does not select {name}")
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    listened = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    for port in [endpoint["port"] for endpoint in monitor["endpoints"]]:
        expect(ports.get(port) in listened, f"everything: the ServiceMonitor's port {port} is none of {name}")
    for port in [port["port"] for rule in objects["NetworkPolicy", "gwtm"]["spec"]["ingress"] for port in rule["ports"]]:
        expect(port in listened, f"everything: the NetworkPolicy's port {port} is none of {name}")
unknown = subprocess.run([helm, "template", "gwtm", chart, "--set", "listeners.storage.type=floppy"],
                         capture_output=True, text=True)
expect("expected swift, s3 or abfs" in unknown.stderr, f"an unknown store: {unknown.stderr}")

# The default images match the Containerfile's stages and the version.
for deployment in rendered["everything-values"].values():
    if deployment["kind"] == "Deployment":
        image, tag = deployment["spec"]["template"]["spec"]["containers"][0]["image"].rsplit("/", 1)[-1].split(":")
        expect(image.removeprefix("gwtm-") in stages and tag == version, f"image {image}:{tag} is not built")

# The documents' commands parse, and name what is rendered; there is no cluster here.
documents = "".join(path.read_text() for path in [workspace / "README.md", infra / "README.md", *(workspace / "docs").glob("*.md")])
operator = (chart / "ci/operator-values.yaml").read_text()
installs = re.findall(r"^helm show values (\S+) >my-values.yaml\b.*\nhelm install (.*--values) my-values.yaml$", documents, re.MULTILINE)
expect(installs and len(installs) == len(re.findall("^helm", documents, re.MULTILINE)) / 2,
       "README.md: expected each `helm install` after the `helm show values` that makes its file")
for shown, command in set(installs):
    for text in (operator, run("show", "values", workspace / shown)):
        done = subprocess.run([helm, "template", *command.split(), "-"], cwd=workspace, input=text, capture_output=True, text=True)
        expect(done.returncode == 0, f"README.md, helm install {command}: {done.stderr}")
requests = [container["resources"]["requests"] for (kind, _), document in rendered["defaults"].items() if kind == "Deployment"
            for container in document["spec"]["template"]["spec"]["containers"]]
needed = [sum(int(request[what].removesuffix(unit)) for request in requests) for what, unit in (("cpu", "m"), ("memory", "Mi"))]
expect(f"request {needed[0] / 1000} processors and {needed[1]} MB" in " ".join(documents.split()),
       f"README.md: expected that both request {needed[0]} m and {needed[1]} Mi")
deployments = {(document["metadata"]["namespace"], name) for (kind, name), document in rendered["defaults"].items()
               if kind == "Deployment"}
kubectl = re.findall(r"\bkubectl -n (\S+) .*?\bdeploy/([\w-]+)", documents)
expect(kubectl, "README.md: no `kubectl … deploy/…`")
for named in kubectl:
    expect(named in deployments, f"README.md, kubectl -n {named[0]} … deploy/{named[1]}: expected one of {sorted(deployments)}")
expect(len(kubectl) == len(re.findall(r"\bdeploy/", documents)), "README.md: expected each deploy/NAME after kubectl -n NAMESPACE")

# The plain manifests equal the chart's output.
subprocess.run([infra / "kubernetes/generate", scratch], check=True)
for made in sorted(scratch.glob("*.yaml")):
    kept = infra / "kubernetes" / made.name
    expect(kept.exists() and kept.read_text() == made.read_text(), f"kubernetes/{made.name}: run infra/kubernetes/generate")
expect({path.name for path in scratch.glob("*.yaml")} == {path.name for path in (infra / "kubernetes").glob("*.yaml")},
       "kubernetes/: expected the generated manifests alone")

print("\n".join(problems))
sys.exit(bool(problems))
