"""Computes a month's bill from the template, the Terraform module and the measurements of infra/measure.

    bill.py [ALERTS]    alerts a day (default: 100)
"""

import json
import re
import sys

import stack

# List prices of us-east-2 in US dollars, of November 2025 (https://aws.amazon.com/lambda/pricing and the other
# services' pages).
GB_SECOND, CALL = 0.0000166667, 0.20e-6  # Lambda, x86
TRANSITION = 25e-6  # Step Functions, standard workflows
PUT, GET, GB_MONTH = 5e-6, 0.4e-6, 0.023  # S3
S3_EVENT = 1e-6  # EventBridge, events of S3
METRIC, ALARM, DASHBOARD, LOG_GB = 0.30, 0.10, 3.00, 0.50  # CloudWatch
SECRET = 0.40  # Secrets Manager
VCPU_HOUR, GB_HOUR, ADDRESS_HOUR = 0.04048, 0.004445, 0.005  # Fargate, x86; a public IPv4 address
# The "always free" tier (https://aws.amazon.com/free).
FREE_METRICS, FREE_ALARMS, FREE_DASHBOARDS, FREE_LOG_GB = 10, 10, 3, 5
FREE_GB_SECONDS, FREE_CALLS, FREE_TRANSITIONS = 400_000, 1_000_000, 4_000
HOURS, DAYS = 730, 30.4
MEASURED = stack.INFRA / "measured.json"


def terraform(file):
    return (stack.INFRA / "terraform" / file).read_text()


def alarms():
    """Names of all alarms, including those that Terraform makes with for_each."""
    resources = stack.template()["Resources"].items()
    of_stack = [name for name, resource in resources if resource["Type"] == "AWS::CloudWatch::Alarm"]
    return of_stack + watched() + ["stopped"] * terraform("alarms.tf").count('"aws_cloudwatch_metric_alarm" "stopped"')


def watched():
    """The bridge's log metrics, each with an alarm."""
    return re.findall(r"^    ([a-z-]+) = \{$", terraform("alarms.tf"), re.MULTILINE)


def metrics():
    """Names of all custom metrics."""
    source = (stack.INFRA.parent / "shared/lambda/src/metrics.rs").read_text()
    return re.findall(r'"(\w+)"', re.search(r"const METRICS: [^=]+= \[([^\]]+)\]", source)[1]) + watched()


def memory():
    """The template's MemorySize of each program [MB]."""
    resources = stack.template()["Resources"]
    return {binary: resources[name]["Properties"]["MemorySize"] for name, binary in stack.functions().items()}


def call(measured, mb):
    """How long a call takes with so much memory [ms], and what is billed [GB·s]: a processor is 1,769 MB."""
    ms = measured["processor_ms"] * max(1, 1769 / mb) + measured["waits_ms"]
    return ms, ms / 1e3 * mb / 1024


def alert_gb_seconds():
    """What an alert takes over all functions [GB·s]."""
    functions, sizes = json.loads(MEASURED.read_text())["functions"], memory()
    return sum(call(measured, sizes[name])[1] for name, measured in functions.items())


def print_memory():
    """Each function's time and price by its memory, the template's in bold."""
    choices, sizes = [128, 256, 512, 1024, 1769], memory()
    print("| function | " + " | ".join(f"{mb} MB" for mb in choices) + " |\n|---" + "|---" * len(choices) + "|")
    for name, measured in json.loads(MEASURED.read_text())["functions"].items():
        cells = []
        for mb in choices:
            mark = "**" if mb == sizes[name] else ""
            ms, gb_seconds = call(measured, mb)
            cells.append(f"{mark}{ms:.0f}, {gb_seconds:.2f}{mark}")
        print(f"| `{name}` | " + " | ".join(cells) + " |")
    print(f"\nIn all {alert_gb_seconds():.2f} GB·s.")


def items(alerts=100):
    """The items of a month: name, list price, and the free part of it."""
    measured, month = json.loads(MEASURED.read_text()), alerts * DAYS
    resources = stack.template()["Resources"].values()
    dashboards = sum(resource["Type"] == "AWS::CloudWatch::Dashboard" for resource in resources)
    main = terraform("main.tf")
    vcpus, gb = (int(re.search(rf"\b{name} += (\d+)", main)[1]) / 1024 for name in ("cpu", "memory"))
    # For the token. The GCN client uses two Systems Manager parameters, which are free.
    secrets = 1

    def free(amount, above, price):
        return amount * price, min(amount, above) * price

    gb_seconds, calls = month * alert_gb_seconds(), month * len(measured["functions"])
    return [
        ("the bridge: Fargate, {:g} vCPU, {:g} GB".format(vcpus, gb), HOURS * (vcpus * VCPU_HOUR + gb * GB_HOUR), 0),
        ("the bridge's public address", HOURS * ADDRESS_HOUR, 0),
        (f"{secrets} secret", secrets * SECRET, 0),
        (f"{len(metrics())} custom metrics", *free(len(metrics()), FREE_METRICS, METRIC)),
        (f"{len(alarms())} alarms", *free(len(alarms()), FREE_ALARMS, ALARM)),
        (f"{dashboards} dashboard", *free(dashboards, FREE_DASHBOARDS, DASHBOARD)),
        ("logs", *free(month * measured["log_bytes"] / 1e9, FREE_LOG_GB, LOG_GB)),
        (f"functions: {gb_seconds:,.0f} GB·s", *free(gb_seconds, FREE_GB_SECONDS, GB_SECOND)),
        (f"functions: {calls:,.0f} calls", *free(calls, FREE_CALLS, CALL)),
        (f"flows: {month * measured['states']:,.0f} transitions", *free(month * measured["states"], FREE_TRANSITIONS, TRANSITION)),
        ("requests to S3", month * (measured["puts"] * PUT + measured["gets"] * GET), 0),
        ("events of S3", month * measured["puts"] * S3_EVENT, 0),
        ("storage, more each month by", month * measured["stored_bytes"] / 1e9 * GB_MONTH, 0),
    ]


def total(rows):
    return sum(price - free for _, price, free in rows)


def main():
    alerts = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 100
    rows = items(alerts)
    print(f"A month at {alerts} alerts a day, list prices of us-east-2 (November 2025):\n")
    print("| what | list | always free | paid |\n|---|---|---|---|")
    for name, price, free in rows:
        print(f"| {name} | ${price:.2f} | ${free:.2f} | ${price - free:.2f} |")
    print(f"| in all | ${sum(price for _, price, _ in rows):.2f} | ${sum(free for *_, free in rows):.2f} | ${total(rows):.2f} |")


if __name__ == "__main__":
    main()
