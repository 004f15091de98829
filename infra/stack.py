"""infra/template.yaml as CloudFormation sees it: translated as AWS translates SAM, with the flows inside.

    stack.py OUT.json    writes it for tools that know CloudFormation alone, without default parameters
"""

import json
import os
import sys
from pathlib import Path

# The translator asks which partition it is in.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-2")

import yaml
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

INFRA = Path(__file__).parent


class NoManagedPolicies:
    def load(self):
        return {}


def parsed(file):
    """A template as it is written."""
    return yaml_parse(file.read_text())


def template():
    """The template as it is written, its flows by the file of each."""
    return parsed(INFRA / "template.yaml")


def functions():
    """Which binary each function is."""
    resources = template()["Resources"].items()
    return {
        name: resource["Metadata"]["BuildProperties"]["Binary"]
        for name, resource in resources
        if resource["Type"] == "AWS::Serverless::Function"
    }


def translated(code="s3://code/bootstrap.zip"):
    """The template that AWS would make of it, with every function's code at one place."""
    source = template()
    for resource in source["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            properties["CodeUri"] = code
        if resource["Type"] == "AWS::Serverless::StateMachine":
            properties["Definition"] = yaml.safe_load((INFRA / properties.pop("DefinitionUri")).read_text())
    return transformed(source)


def transformed(source):
    """A template with code and flows inside, as AWS translates it."""
    return transform(source, {}, NoManagedPolicies())


def main():
    made = translated()
    for parameter in made["Parameters"].values():
        parameter.pop("Default", None)
    Path(sys.argv[1]).write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
