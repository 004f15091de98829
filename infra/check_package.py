"""Installs the Debian package in a container with systemd: the unit starts, processes a notice from a broker, sends
watchdog keep-alives while healthy and is restarted by the watchdog when not, stops on SIGTERM, and purging the package
leaves nothing.

    check_package.py SCRATCH    an empty folder

Needs the programs of containers.py, and cargo-deb."""

import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import local
from containers import PODMAN, RUN, WORKSPACE, build, ensure_base, expect, newest, run

scratch = Path(sys.argv[1])
BASE = "docker.io/library/debian:bookworm-slim"
# Maximum exposure of `systemd-analyze security`, out of 10.
EXPOSURE = 1.5
# In place of the unit's WatchdogSec, and of HEALTH_HEARTBEAT_SECONDS [s].
WATCHDOG, HEARTBEAT = 6, 10

run(WORKSPACE / "infra/package", newest("gwtm")[0], scratch, "--fast")
[package] = scratch.glob("*.deb")
ensure_base(BASE)
context = scratch / "context"
context.mkdir()
(context / "Containerfile").write_text(
    f"FROM {BASE}\nRUN apt-get update && apt-get install -y --no-install-recommends systemd-sysv ca-certificates libcurl4 libssl3\n")
build("localhost/gwtm-systemd:check", context, "-f", context / "Containerfile")
logs = scratch / "logs"
logs.mkdir()
broker, port = local.Kafka(logs), local.free_port()
container = run(*RUN, "--detach", "--privileged", "--systemd", "always", "--volume", f"{scratch}:/package:ro",
                "--volume", f"{WORKSPACE}/events:/srv/events:ro", "localhost/gwtm-systemd:check", "/sbin/init").strip()


def inside(command):
    return run(*PODMAN, "exec", container, "sh", "-ec", command)


def shown():
    return dict(line.split("=", 1) for line in inside("systemctl show gwtm-listen").splitlines())


def survived():
    """Whether the newest keep-alive came longer after the start than the watchdog waits."""
    unit = shown()
    return int(unit["WatchdogTimestampMonotonic"]) - int(unit["ActiveEnterTimestampMonotonic"]) > 2e6 * WATCHDOG


silent = threading.Event()


def beat():
    """Sends heartbeats as GCN does."""
    while not silent.wait(0.5):
        broker.producer.produce(local.HEARTBEAT, b"{}")
        broker.producer.poll(0)


threading.Thread(target=beat, daemon=True).start()

try:
    local.until("systemd", lambda: subprocess.run(
        [*PODMAN, "exec", container, "systemctl", "is-system-running"], capture_output=True, text=True).stdout.strip()
        in ("running", "degraded"))
    inside(f"apt-get install -y --no-install-recommends /package/{package.name}")
    expect(inside("systemctl is-enabled gwtm-listen || true").strip() == "disabled", "expected a unit that waits for its settings")
    inside("gwtm --version; test -s /usr/share/man/man1/gwtm-listen.1.gz")
    for shell, file, registration in (("bash", "bash-completion/completions/gwtm", "complete -F _gwtm"),
                                      ("zsh", "zsh/vendor-completions/_gwtm", "#compdef gwtm"),
                                      ("fish", "fish/vendor_completions.d/gwtm.fish", "complete -c gwtm")):
        expect(registration in inside(f"cat /usr/share/{file}"), f"{shell}: expected `{registration}` in /usr/share/{file}")
    for line in (f"KAFKA_BOOTSTRAP={broker.address}", "KAFKA_OFFSET_RESET=earliest", f"HEALTH_ADDR=127.0.0.1:{port}",
                 f"HEALTH_HEARTBEAT_SECONDS={HEARTBEAT}", "AUDIT_INTERVAL_MINUTES=0", "CATALOG_PATH=/srv/events/catalog.csv",
                 "PATH_TO_GALAXY_CATALOG_CONFIG=/etc/gwtm/gal_catalog_config.ini", "FERMI_FT2_DIR=/srv/events",
                 "FERMI_TLE_FILE=/srv/events/fermi.tle", "SWIFT_POINTING_URL=none"):
        inside(f"echo '{line}' >>/etc/gwtm/gwtm.env")
    overrides = "/run/systemd/system/gwtm-listen.service.d"
    inside(f"mkdir -p {overrides}; printf '[Service]\\nWatchdogSec={WATCHDOG}\\n' >{overrides}/watchdog.conf; systemctl daemon-reload")
    inside("systemctl enable --now gwtm-listen")
    expect(urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200, "expected a healthy listener")
    broker.send(WORKSPACE / "events/notices/S090101a-4-initial.json")
    local.until("the products", lambda: inside("ls /var/lib/gwtm/fit 2>/dev/null || true").count("S090101a-latest.json"))
    local.until("a keep-alive beyond the watchdog's time", survived)
    unit = shown()
    expect(unit["NRestarts"] == "0", f"expected no restart of a healthy unit, found {unit['NRestarts']}")
    expect(unit["StatusText"] == "listening", f"status: expected `listening`, found `{unit['StatusText']}`")
    # DynamicUser= allocates a user of this range, without a name outside the unit.
    owner, mode = inside("stat -c '%u %a' /var/lib/gwtm/fit/S090101a-latest.json").split()
    expect(61184 <= int(owner) <= 65519 and mode == "640", f"expected objects of the unit's own user, found {owner}, mode {mode}")
    exposure = float(re.search(r"level for \S+: ([0-9.]+)", inside("systemd-analyze security gwtm-listen --no-pager"))[1])
    expect(exposure <= EXPOSURE, f"systemd-analyze security: expected at most {EXPOSURE}, found {exposure}")
    silent.set()
    local.until("a restart by the watchdog", lambda: int(shown()["NRestarts"]) > 0)
    expect("Watchdog timeout" in inside("journalctl --unit gwtm-listen --no-pager"), "expected a restart by the watchdog")
    local.until("the unit after its restart", lambda: shown()["ActiveState"] == "active")
    inside("systemctl stop gwtm-listen")
    result = inside("systemctl show gwtm-listen --property Result --property ExecMainStatus").split()
    expect(sorted(result) == ["ExecMainStatus=0", "Result=success"], f"expected to stop by itself, found {result}")
    inside("apt-get purge -y gwtm")
    left = inside("ls -d /etc/gwtm /usr/bin/gwtm /lib/systemd/system/gwtm-listen.service 2>/dev/null || true")
    expect(not left, f"expected nothing after the purge, found {left}")
    print(f"{package.name}: {package.stat().st_size / 1e6:.1f} MB; systemd-analyze security: {exposure} of 10")
except BaseException:
    subprocess.run([*PODMAN, "exec", container, "journalctl", "--unit", "gwtm-listen", "--no-pager"])
    raise
finally:
    subprocess.run([*PODMAN, "rm", "--force", container], capture_output=True)
