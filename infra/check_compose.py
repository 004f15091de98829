"""Runs compose.yaml with podman-compose: both listeners with .env.example and a broker process a notice each, and the
documents' `run` commands succeed; then the demo, without .env.

    check_compose.py SCRATCH    an empty folder

Needs the programs of containers.py, and the image of check_image.py."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import yaml

import local
from containers import WORKSPACE, build, ensure_base, expect, run

scratch = Path(sys.argv[1])
text = (WORKSPACE / "compose.yaml").read_text()
services = yaml.safe_load(text)["services"]
tables = (WORKSPACE / "docs/settings.md").read_text()
settings = set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", tables, re.MULTILINE))
for name, service in services.items():
    for setting in service.get("environment", {}) if "kafka" not in service["image"] else []:
        expect(setting in settings, f"compose.yaml, {name}: {setting} is no setting")
# docker compose reads the environment file of every service, whichever it starts; podman-compose does not.
for name, service in services.items():
    for file in service.get("env_file", []):
        expect(file == {"path": ".env", "required": False}, f"compose.yaml, {name}: expected .env to be optional, found {file}")
example = (WORKSPACE / ".env.example").read_text()
for name in re.findall(r"(?<!\$)\$\{?(\w+)", text):
    expect(re.search(rf"^#?{name}=", example, re.MULTILINE), f".env.example: expected {name}, which compose.yaml reads")

# The documents' commands name existing services and profiles.
commands = re.findall(r"^docker compose (.*?)(?:\s+#.*)?$", (WORKSPACE / "README.md").read_text()
                      + (WORKSPACE / "infra/README.md").read_text(), re.MULTILINE)
expect(len(commands) >= 4, f"README.md: expected commands of compose, found {commands}")
profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
for command in commands:
    words = command.split()
    named = {words[i + 1] for i, word in enumerate(words) if word == "--profile"}
    expect(named <= profiles, f"docker compose {command}: no such profile")
    verb = next(i for i, word in enumerate(words) if word in ("up", "run", "exec"))
    services_named = [word for word in words[verb + 1:] if not word.startswith("-")][:1]
    expect(all(name in services for name in services_named), f"docker compose {command}: no such service")

project = f"gwtm-check-{os.getpid()}"
environment = os.environ | {"GWTM_IMAGE": "localhost/gwtm-listener:check"}


def is_healthy(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200
    except OSError:
        return False


def objects(volume):
    folder = json.loads(run("podman", "volume", "inspect", f"{project}_{volume}"))[0]["Mountpoint"]
    return [str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()]


def containers():
    labelled = f"label=io.podman.compose.project={project}"
    for container in run("podman", "ps", "--all", "--quiet", "--filter", labelled).split():
        yield container, json.loads(run("podman", "inspect", container))[0]["State"]


class Compose:
    """Runs compose.yaml with changed settings, in a folder of its own; removes everything at the end."""

    def __init__(self, name, changed):
        self.folder = scratch / name
        self.folder.mkdir()
        (self.folder / "compose.yaml").write_text(text)
        (self.folder / "changed.yaml").write_text(json.dumps({"services": changed}))
        self.command = [Path(sys.executable).with_name("podman-compose"), "--podman-args=--runtime=runc",
                        "--project-name", project, "-f", self.folder / "compose.yaml", "-f", self.folder / "changed.yaml"]

    def __call__(self, *arguments):
        return run(*self.command, *arguments, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            subprocess.run([*map(str, self.command), "logs"], env=environment)
        subprocess.run([*map(str, self.command), "--profile", "demo", "down", "--volumes"], env=environment,
                       capture_output=True)


# This machine may not allow raising limits.
LIMITS = {"ulimits": {"nofile": 1024, "nproc": 1024}}


def listeners():
    """Runs both listeners with .env.example and this machine's broker, on the host's network."""
    logs = scratch / "logs"
    logs.mkdir()
    broker = local.Kafka(logs)
    # No public service is asked.
    env = example + (f"KAFKA_BOOTSTRAP={broker.address}\nKAFKA_OFFSET_RESET=earliest\nAUDIT_INTERVAL_MINUTES=0\n"
                     "FERMI_TLE_URL=none\nFERMI_FT2_URL=none\nSWIFT_POINTING_URL=none\n")
    sent = {"ligo-listener": ("S090101a-4-initial.json", "fit/S090101a-Initial.fits.gz"),
            "icecube-listener": ("S090101a-6-icecube-nested.json", "work/")}
    ports = {name: local.free_port() for name in sent}
    changed = {name: LIMITS | {"network_mode": "host", "ports": [], "environment": {"HEALTH_ADDR": f"127.0.0.1:{port}"}}
               for name, port in ports.items()}
    with Compose("listeners", changed) as compose:
        (compose.folder / ".env").write_text(env)
        compose("up", "--detach", "--no-build", *sent)
        for name, (notice, product) in sent.items():
            local.until(f"{name}'s health", lambda: is_healthy(ports[name]))
            broker.send(WORKSPACE / "events/notices" / notice)
            local.until(f"{name}'s products", lambda: any(key.startswith(product) for key in objects("store")))
        for command in {command for command in commands if "run" in command.split()}:
            said = compose(*command.split())
            for what in ("store", "Kafka"):
                expect(re.search(rf"^  {what} +ok ", said, re.MULTILINE), f"docker compose {command}: {what}: {said}")
        compose("stop", "--timeout", "30", *sent)
        for container, state in containers():
            expect(state["ExitCode"] == 0, f"{container}: expected to stop by itself, found exit code {state['ExitCode']}")
        print(f"compose: {len(objects('store'))} objects of two notices")


# The entry point of Apache Kafka's image as far as the demo needs it: it converts environment variables to settings.
KAFKA_IMAGE = """\
FROM docker.io/library/debian:bookworm-slim
COPY java /usr/bin/java
COPY run kafka-topics.sh kafka-console-producer.sh /opt/kafka/bin/
RUN install -d /etc/kafka/docker /mnt/shared/config /opt/kafka/config \\
    && printf 'log.dirs=/tmp/kafka-logs\\n' >/etc/kafka/docker/server.properties \\
    && touch /etc/kafka/docker/log4j2.yaml /etc/kafka/docker/tools-log4j2.yaml
CMD ["/opt/kafka/bin/run"]
"""
KAFKA_TOOL = "#!/bin/sh\nexec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' {} \"$@\"\n"
KAFKA_RUN = """\
#!/bin/sh -e
kafka() { java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' "$@"; }
export CLUSTER_ID=5L6g3nShT-eMCtK--X86sw
kafka kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config
kafka kafka.Kafka /opt/kafka/config/server.properties
"""


def demo():
    """Runs the demo without .env, with an image of Kafka made from the jars that tests/setup installed."""
    [image] = {service["image"] for service in services.values() if "kafka" in service["image"]}
    jars = WORKSPACE / "tests/servers/kafka/libs"
    expect(list(jars.glob(f"kafka-tools-{image.split(':')[1]}.jar")), f"{image}: expected the version in {jars}")
    context = scratch / "kafka"
    context.mkdir()
    java = Path(shutil.which("java")).resolve()
    tools = {"kafka-topics.sh": "TopicCommand", "kafka-console-producer.sh": "ConsoleProducer"}
    scripts = {name: KAFKA_TOOL.format(f"org.apache.kafka.tools.{tool}") for name, tool in tools.items()}
    for name, text in (scripts | {"run": KAFKA_RUN, "java": f'#!/bin/sh\nexec {java} "$@"\n'}).items():
        (context / name).write_text(text)
        (context / name).chmod(0o755)
    (context / "Containerfile").write_text(KAFKA_IMAGE)
    ensure_base("docker.io/library/debian:bookworm-slim")
    build(image, context, "-f", context / "Containerfile")
    # Copies this machine's Java and its shared libraries.
    folders = [Path("/usr/lib/jvm"), Path("/usr/lib/x86_64-linux-gnu"), *Path("/etc").glob("java-*-openjdk")]
    mounted = [f"{path}:{path}:ro" for path in folders] + [f"{jars.resolve()}:/opt/kafka/libs:ro"]
    changed = {name: LIMITS | ({"volumes": mounted} if "kafka" in service["image"] else {})
               for name, service in services.items() if "demo" in service.get("profiles", [])}
    # An object of each IceCube notice, and one of each alert's superevent.
    wanted = {"fit/S090101a-Initial.html"}
    for notice in (WORKSPACE / "events/notices").glob("*.json"):
        superevent = notice.name.split("-")[0]
        product = "icecube-" if "icecube" in notice.name else "latest.json"
        wanted.add(f"{'test' if superevent[0] in 'MT' else 'fit'}/{superevent}-{product}")
    expect(len(wanted) > 10, f"expected the bundled notices, found {wanted}")
    with Compose("demo", changed) as compose:
        (compose.folder / "events").symlink_to(WORKSPACE / "events")
        compose("--profile", "demo", "up", "--detach", "--no-build", "demo")
        local.until("the demo's health", lambda: is_healthy(8082))
        for product in sorted(wanted):
            local.until(f"the demo's {product}", lambda: any(key.startswith(product) for key in objects("demo")))
        [page] = {command.split(">")[0] for command in commands if "exec" in command.split()}
        expect("<html" in compose(*page.split()), f"docker compose {page}: expected a page")
        print(f"demo: {len(objects('demo'))} objects")


listeners()
demo()
