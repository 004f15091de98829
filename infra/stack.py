"""Translates infra/template.yaml from SAM to CloudFormation, as AWS does, with the flows embedded.

    stack.py OUT.json    writes it without default parameters, for tools that only support CloudFormation
"""

import json
import os
import sys
from pathlib import Path

# The translator requires a partition.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-2")

import yaml
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

INFRA = Path(__file__).parent


class NoManagedPolicies:
    def load(self):
        return {}


def parsed(file):
    """Loads a template without translation."""
    return yaml_parse(file.read_text())


def template():
    """The untranslated template, and the file of each flow."""
    return parsed(INFRA / "template.yaml")


def functions():
    """The binary of each function."""
    resources = template()["Resources"].items()
    return {
        name: resource["Metadata"]["BuildProperties"]["Binary"]
        for name, resource in resources
        if resource["Type"] == "AWS::Serverless::Function"
    }


def translated(code="s3://code/bootstrap.zip"):
    """The translated template, with the same code location for all functions."""
    source = template()
    for resource in source["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            properties["CodeUri"] = code
        if resource["Type"] == "AWS::Serverless::StateMachine":
            properties["Definition"] = yaml.safe_load((INFRA / properties.pop("DefinitionUri")).read_text())
    return transformed(source)


def transformed(source):
    """Translates a template with code and flows embedded."""
    return transform(source, {}, NoManagedPolicies())


def main():
    made = translated()
    for parameter in made["Parameters"].values():
        parameter.pop("Default", None)
    Path(sys.argv[1]).write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
