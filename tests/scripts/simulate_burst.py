"""Simulates a burst of notices of each kind on an account that runs few calls at once, with the retriers of infra/flows.

    simulate_burst.py FLOWS CONCURRENCY    prints as JSON how many calls gave up, and when the last flow ended [h]: of each
                                           flow, and of all

A call that finds no room is throttled and waits as its state's retrier for Lambda.TooManyRequestsException says; each
call that has room takes as long as a warm one.
"""

import heapq
import json
import random
import sys
from pathlib import Path

import yaml

FLOWS = Path(__file__).parents[2] / "infra/flows"
# The functions of each flow in its order, two of them side by side, and how long each runs [s].
AFTER = [["post-api"], ["annotate"], ["notify"]]
STEPS = {"ligo": [["ingest-ligo"], ["skymap-products", "galaxy-list"], *AFTER], "icecube": [["ingest-icecube"], *AFTER]}
SECONDS = {
    "ingest-ligo": 0.3,
    "ingest-icecube": 0.3,
    "skymap-products": 1.5,
    "galaxy-list": 0.5,
    "post-api": 0.5,
    "annotate": 1.0,
    "notify": 0.2,
}


def states(machine):
    """Every state, those inside others too, by its name."""
    for name, state in machine["States"].items():
        yield name, state
        for inner in state.get("Branches", []) + [state[field] for field in ("ItemProcessor",) if field in state]:
            yield from states(inner)


def throttled(state):
    """The retrier that a throttled call follows."""
    return next(one for one in state["Retry"] if "Lambda.TooManyRequestsException" in one["ErrorEquals"])


def simulate(kind, flows, concurrency):
    """How many calls of a burst of one kind gave up, and when its last flow ended [h]."""
    steps, machine = STEPS[kind], yaml.safe_load((FLOWS / f"{kind}.asl.yaml").read_text())
    # Of every state that calls a function, also of those that only failures reach.
    retriers = {name: throttled(state) for name, state in states(machine) if "FunctionName" in state.get("Parameters", {})}
    random.seed(7)
    # (time, number, what, flow, step, function, attempts)
    events, number, running, gave_up, last = [], 0, 0, 0, 0.0
    left = {}

    def at(time, *event):
        nonlocal number
        number += 1
        heapq.heappush(events, (time, number, *event))

    def begin(time, flow, step):
        if step == len(steps):
            return
        left[flow] = len(steps[step])
        for function in steps[step]:
            at(time, "call", flow, step, function, 0)

    for flow in range(flows):
        begin(0.0, flow, 0)
    while events:
        now, _, what, flow, step, function, attempts = heapq.heappop(events)
        last = now
        if what == "call" and running < concurrency:
            running += 1
            at(now + SECONDS[function], "answer", flow, step, function, attempts)
            continue
        if what == "call":
            retrier = retriers[function]
            if attempts < retrier["MaxAttempts"]:
                wait = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** min(attempts, 60)
                wait = min(wait, retrier.get("MaxDelaySeconds", wait))
                at(now + random.uniform(0, wait), "call", flow, step, function, attempts + 1)
                continue
            gave_up += 1
        else:
            running -= 1
        # A call that gave up is caught, and the flow goes on without it.
        left[flow] -= 1
        if left[flow] == 0:
            begin(now, flow, step + 1)
    return {"gave_up": gave_up, "hours": round(last / 3600, 2)}


def main():
    flows, concurrency = map(int, sys.argv[1:])
    found = {kind: simulate(kind, flows, concurrency) for kind in STEPS}
    gave_up, hours = (of(one[field] for one in found.values()) for field, of in (("gave_up", sum), ("hours", max)))
    print(json.dumps({"gave_up": gave_up, "hours": hours, "flows": found}))


main()
