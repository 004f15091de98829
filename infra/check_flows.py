"""Checks the flows and their use in the template; writes them into a template for cfn-lint.

    check_flows.py template.yaml OUT.json
"""

import json
import re
import sys
from pathlib import Path

import yaml


class Template(yaml.SafeLoader):
    """Loads YAML, ignoring CloudFormation's tags such as `!Sub`."""


Template.add_multi_constructor("!", lambda loader, tag, node: f"!{tag}")


def targets(state):
    """The successors of a state."""
    yield from (state[field] for field in ("Next", "Default") if field in state)
    yield from (rule["Next"] for rule in state.get("Choices", []) + state.get("Catch", []))


def machines(machine):
    """A state machine and the nested ones."""
    yield machine
    for state in machine["States"].values():
        for inner in state.get("Branches", []) + [state[f] for f in ("ItemProcessor",) if f in state]:
            yield from machines(inner)


def problems(flow):
    for machine in machines(flow):
        states, reached = machine["States"], set()
        ahead = [machine["StartAt"]]
        while ahead:
            name = ahead.pop()
            if name not in states:
                yield f"`{name}`: no such state"
            elif name not in reached:
                reached.add(name)
                ahead.extend(targets(states[name]))
        yield from (f"`{name}`: nothing leads there" for name in states.keys() - reached)
        for name, state in states.items():
            if state["Type"] == "Task" and not {"Retry"} <= state.keys():
                yield f"`{name}`: a task without Retry"
            if state["Type"] == "Task" and "lambda" in state["Resource"] and "Catch" not in state:
                yield f"`{name}`: a function without Catch"
            caught = [error for rule in state.get("Catch", []) for error in rule["ErrorEquals"]]
            if "States.ALL" in caught and "States.DataLimitExceeded" not in caught:
                yield f"`{name}`: States.ALL does not catch States.DataLimitExceeded"


def main():
    template_file, out = map(Path, sys.argv[1:])
    template = yaml.load(template_file.read_text(), Template)
    found, resources = [], {}
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::StateMachine":
            continue
        file = template_file.parent / resource["Properties"]["DefinitionUri"]
        text = file.read_text()
        if re.search(r"[:-] [&*]\w", text):
            found.append(f"{file}: YAML anchors, which CloudFormation refuses")
        flow = yaml.safe_load(text)
        found.extend(f"{file}: {problem}" for problem in problems(flow))
        used, given = set(re.findall(r"\$\{(\w+)\}", text)), set(resource["Properties"]["DefinitionSubstitutions"])
        found.extend(f"{file}: `${{{missing}}}` is not given by {template_file}" for missing in used - given)
        found.extend(f"{template_file}: `{name}` gives `{unused}`, which {file} does not use" for unused in given - used)
        resources[name] = {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "RoleArn": "arn:aws:iam::123456789012:role/flow",
                "Definition": flow,
                "DefinitionSubstitutions": {name: name for name in used},
            },
        }
    if len(resources) < 2:
        found.append(f"{template_file}: expected two flows, found {len(resources)}")
    out.write_text(json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}, indent=1))
    print("\n".join(found))
    sys.exit(bool(found))


main()
