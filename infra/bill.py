"""Computes the first month's bill from the template, the Terraform module and the measurements of infra/measure.

    bill.py [ALERTS]    alerts a day (default: 100)
"""

import json
import re
import sys

import stack

# List prices of us-east-2 in US dollars: price, unit, free each month, page, and the date of the price. All were entered by
# hand, without a record of a comparison with the page, those of 2026 from memory: compare before you rely on a total. The
# free amounts are of the "always free" tier (https://aws.amazon.com/free).
PRICES = {
    "function": (0.0000166667, "GB·s, x86_64", 400_000, "https://aws.amazon.com/lambda/pricing/", "2025-11"),
    "call": (0.20e-6, "request", 1_000_000, "https://aws.amazon.com/lambda/pricing/", "2025-11"),
    "transition": (25e-6, "state transition, standard workflow", 4_000, "https://aws.amazon.com/step-functions/pricing/", "2025-11"),
    "put": (5e-6, "PUT", 0, "https://aws.amazon.com/s3/pricing/", "2025-11"),
    "list": (5e-6, "LIST", 0, "https://aws.amazon.com/s3/pricing/", "2026-11"),
    "get": (0.4e-6, "GET or HEAD", 0, "https://aws.amazon.com/s3/pricing/", "2025-11"),
    "move": (10e-6, "transition to STANDARD_IA", 0, "https://aws.amazon.com/s3/pricing/", "2026-11"),
    "storage": (0.023, "GB and month, STANDARD", 0, "https://aws.amazon.com/s3/pricing/", "2025-11"),
    "event": (1e-6, "event of S3", 0, "https://aws.amazon.com/eventbridge/pricing/", "2025-11"),
    "metric": (0.30, "custom metric and month", 10, "https://aws.amazon.com/cloudwatch/pricing/", "2025-11"),
    "alarm": (0.10, "alarm and month", 10, "https://aws.amazon.com/cloudwatch/pricing/", "2025-11"),
    "dashboard": (3.00, "dashboard and month", 3, "https://aws.amazon.com/cloudwatch/pricing/", "2025-11"),
    "log": (0.50, "GB taken in", 5, "https://aws.amazon.com/cloudwatch/pricing/", "2025-11"),
    "log storage": (0.03, "GB and month, compressed", 0, "https://aws.amazon.com/cloudwatch/pricing/", "2026-11"),
    "secret": (0.40, "secret and month", 0, "https://aws.amazon.com/secrets-manager/pricing/", "2025-11"),
    "secret read": (5e-6, "API call", 0, "https://aws.amazon.com/secrets-manager/pricing/", "2026-11"),
    "trace": (5e-6, "trace", 100_000, "https://aws.amazon.com/xray/pricing/", "2026-11"),
    "vcpu": (0.04048, "vCPU and hour, Linux on x86_64", 0, "https://aws.amazon.com/fargate/pricing/", "2025-11"),
    "memory": (0.004445, "GB and hour, Linux on x86_64", 0, "https://aws.amazon.com/fargate/pricing/", "2025-11"),
    "address": (0.005, "public IPv4 address and hour", 0, "https://aws.amazon.com/vpc/pricing/", "2025-11"),
}
HOURS, DAYS = 730, 30.4
# Objects that S3 lists in one request.
LIST_PAGE = 1000
# Of GCN's alerts with mocks left out: 1,650 of 300 superevents (the benchmark `audit`).
ALERTS_PER_SUPEREVENT = 5.5
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


def secrets():
    """The parameters of the template for secrets that functions read, and by which; without those of other stores."""
    readers = {}
    for function in stack.functions():
        variables = stack.template()["Resources"][function]["Properties"].get("Environment", {}).get("Variables", {})
        for name in re.findall(r"\b(\w+Secret)\b", str(variables.get("SETTINGS_SECRETS", ""))):
            readers.setdefault(name, []).append(function)
    readers.pop("StorageSecret")
    return readers


def audits():
    """The audit's schedules: calls a day, and the period that each audits [days]."""
    events = stack.template()["Resources"]["Audit"]["Properties"]["Events"].values()
    for event in events:
        cron = event["Properties"]["ScheduleExpression"]
        (hours,) = re.fullmatch(r"cron\(\d+ (\d+|\*|\*/\d+) \* \* \? \*\)", cron).groups()
        yield 1 if hours.isdigit() else 24 // int(hours[2:] or 1), int(re.search(r'"period": "(\d+)d"', str(event))[1])


def audit_requests(alerts, measured):
    """LISTs and GETs of all audits in a month, were no alert a mock (functions/audit)."""
    lists = gets = 0
    objects = measured.get("fit_objects", measured["puts"])
    for a_day, days in audits():
        calls = a_day * DAYS
        # It lists whole months, from the day before the period on, and failed/. On average half of the last month is over.
        listed = days + 1 + DAYS / 2
        lists += calls * (2 + listed * alerts * objects / LIST_PAGE)
        # It compares whole days: a notice of each alert, a galaxy list and contours of each superevent.
        gets += calls * (days + 0.5) * alerts * (1 + 2 / ALERTS_PER_SUPEREVENT)
    return lists, gets


def not_measured():
    """What the bill assumes until infra/measure is run again."""
    assumed = {"lists": "no LIST of an alert is counted", "fit_objects": "every PUT of an alert counts as an object that audits list"}
    measured = json.loads(MEASURED.read_text())
    return [f"{MEASURED.name} has no `{name}`, so {what}" for name, what in assumed.items() if name not in measured]


def growth(alerts=100):
    """What the objects of a month cost in each later month."""
    return alerts * DAYS * json.loads(MEASURED.read_text())["stored_bytes"] / 1e9 * PRICES["storage"][0]


def items(alerts=100):
    """The items of the first month: name, list price, and the free part of it.

    Below a cent and left out: schedules, mails, the image in ECR, and traffic out, of which 100 GB are free. The audit's
    calls are not measured: were each as long as its time-out, all functions together would still be free.
    """
    measured, month = json.loads(MEASURED.read_text()), alerts * DAYS
    resources = stack.template()["Resources"].values()
    dashboards = sum(resource["Type"] == "AWS::CloudWatch::Dashboard" for resource in resources)
    main = terraform("main.tf")
    vcpus, gb = (int(re.search(rf"\b{name} += (\d+)", main)[1]) / 1024 for name in ("cpu", "memory"))

    def item(name, *amounts):
        """`amounts`: pairs of a price and how often it is paid."""
        paid = [(PRICES[price], amount) for price, amount in amounts]
        return name, sum(one[0] * amount for one, amount in paid), sum(one[0] * min(amount, one[2]) for one, amount in paid)

    gb_seconds, calls = month * alert_gb_seconds(), month * len(measured["functions"])
    lists, gets = audit_requests(alerts, measured)
    of_alerts = month * measured.get("lists", 0)
    # Each call reads its secret again: calls are further apart than the five minutes for which it is kept.
    readers = [function for functions in secrets().values() for function in functions]
    reads = sum(DAYS * sum(a_day for a_day, _ in audits()) if function == "Audit" else month for function in readers)
    log_gb = month * measured["log_bytes"] / 1e9
    kept_months = stack.template()["Parameters"]["LogRetentionDays"]["Default"] / DAYS
    return [
        item("the bridge: Fargate, {:g} vCPU, {:g} GB".format(vcpus, gb), ("vcpu", HOURS * vcpus), ("memory", HOURS * gb)),
        item("the bridge's public address", ("address", HOURS)),
        item(f"{len(secrets())} secrets, read {reads:,.0f} times", ("secret", len(secrets())), ("secret read", reads)),
        item(f"{len(metrics())} custom metrics", ("metric", len(metrics()))),
        item(f"{len(alarms())} alarms", ("alarm", len(alarms()))),
        item(f"{dashboards} dashboard", ("dashboard", dashboards)),
        item(f"logs, kept {kept_months:.1f} months", ("log", log_gb), ("log storage", log_gb * kept_months)),
        item(f"functions: {gb_seconds:,.0f} GB·s", ("function", gb_seconds)),
        item(f"functions: {calls:,.0f} calls", ("call", calls)),
        item(f"flows: {month * measured['states']:,.0f} transitions", ("transition", month * measured["states"])),
        item(f"flows: {month:,.0f} traces", ("trace", month)),
        item("alerts' requests to S3", ("put", month * measured["puts"]), ("get", month * measured["gets"]), ("list", of_alerts)),
        item(f"audits' requests to S3: {lists:,.0f} LIST, {gets:,.0f} GET", ("list", lists), ("get", gets)),
        item("inbox/ to STANDARD_IA", ("move", month)),
        item("events of S3", ("event", month * measured["puts"])),
        # From nothing at the month's start to all at its end.
        ("storage, on average half of the month's objects", growth(alerts) / 2, 0),
    ]


def total(rows):
    return sum(price - free for _, price, free in rows)


def print_bill(alerts=100):
    rows = items(alerts)
    print(f"The first month at {alerts} alerts a day, list prices of us-east-2 entered by hand (bill.py, PRICES):\n")
    print("| what | list | always free | paid |\n|---|---|---|---|")
    for name, price, free in rows:
        print(f"| {name} | ${price:.2f} | ${free:.2f} | ${price - free:.2f} |")
    print(f"| in all | ${sum(price for _, price, _ in rows):.2f} | ${sum(free for *_, free in rows):.2f} | ${total(rows):.2f} |")
    print(f"\nStorage grows: each later month costs ${growth(alerts):.2f} more.")
    for what in not_measured():
        print(f"note: {what}")


def main():
    print_bill(int(sys.argv[1]) if len(sys.argv) > 1 else 100)


if __name__ == "__main__":
    main()
