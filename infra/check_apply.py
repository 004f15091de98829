"""Packages the template with SAM, applies the Terraform example to moto, and expects an empty second plan.

    check_apply.py EXAMPLE    a copy of infra/terraform/example beside the module, after `terraform init`; a provider is
                              written into it

The uploaded and the deployed flows must equal the files of infra/flows.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

import local
import stack

PROVIDER = """
provider "aws" {
  region                      = "us-east-2"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  s3_use_path_style           = true
}
"""


# Attributes that moto does not store, so every plan would set them again.
FORGOTTEN = {("module.bridge.aws_ecs_service.bridge", "availability_zone_rebalancing")}


def terraform(module, *words):
    ended = subprocess.run(
        ["terraform", f"-chdir={module}", *words],
        env=os.environ | {"AWS_ENDPOINT_URL": local.MOTO, "TF_CLI_ARGS": "-no-color", "TF_INPUT": "0"},
        capture_output=True,
        text=True,
    )
    if ended.returncode != 0:
        sys.exit(f"terraform {' '.join(words)}: exit code {ended.returncode}\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}")
    return ended.stdout


def changes(plan):
    """All attributes that a plan changes."""
    for resource in json.loads(plan).get("resource_changes", []):
        change = resource["change"]
        if change["actions"] not in (["no-op"], ["read"]):
            before, after = change["before"] or {}, change["after"] or {}
            names = before.keys() | after.keys() | (change["after_unknown"] or {}).keys()
            yield from ((resource["address"], name) for name in names if before.get(name) != after.get(name))


def packaged(folder):
    """Packages and translates the template; checks that SAM uploads the flows unchanged."""
    written = folder / "packaged.yaml"
    command = [local.ROOT / "tests/servers/sam/bin/sam", "package", "--template-file", stack.INFRA / "template.yaml"]
    command += ["--s3-bucket", "code", "--output-template-file", written, "--region", local.REGION]
    # sam leaves a folder for each zip.
    environment = os.environ | {"AWS_ENDPOINT_URL": local.MOTO, "SAM_CLI_TELEMETRY": "0", "TMPDIR": str(local.folder("sam-"))}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"sam package: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
    source, definitions = stack.parsed(written), {}
    for name, resource in source["Resources"].items():
        if resource["Type"] == "AWS::Serverless::StateMachine":
            place = resource["Properties"].pop("DefinitionUri")
            uploaded = local.aws("s3").get_object(Bucket=place["Bucket"], Key=place["Key"])["Body"].read()
            file = stack.INFRA / stack.template()["Resources"][name]["Properties"]["DefinitionUri"]
            if uploaded != file.read_bytes():
                sys.exit(f"{file}: expected SAM to upload this file as it is, found {uploaded[:200]}")
            definitions[name] = resource["Properties"]["Definition"] = yaml.safe_load(uploaded)
    made = stack.transformed(source)
    for resource in made["Resources"].values():
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            local.inline(resource["Properties"], hurry=False)
    written.write_text(json.dumps(made))
    return written, definitions


def main():
    example = Path(sys.argv[1])
    local.start_aws()
    template, definitions = packaged(example)
    ec2 = local.aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    parameter = "arn:aws:ssm:us-east-2:123456789012:parameter/gwtm"
    (example / "provider.tf").write_text(PROVIDER)
    variables = {
        "packaged": str(template),
        "parameters": {"GalaxyCatalog": "galaxy_catalog/g.csv"},
        "settings": {"FLAT_MAX_ORDER": "9"},
        "bridge": {
            "image": "123456789012.dkr.ecr.us-east-2.amazonaws.com/gwtm-bridge:1",
            "secrets": {"KAFKA_CLIENT_ID": f"{parameter}/client_id", "KAFKA_CLIENT_SECRET": f"{parameter}/client_secret"},
            "vpc_id": vpc,
            "subnet_ids": [subnet],
            "settings": {"FLOWS_AT_ONCE": "4"},
            "group_id": "a-group",
            "log_retention_days": 30,
            "alarm_topic_arn": "arn:aws:sns:us-east-2:123456789012:elsewhere",
            "kms_key_arns": ["arn:aws:kms:us-east-2:123456789012:key/1"],
            "assign_public_ip": False,
        },
    }
    (example / "terraform.tfvars.json").write_text(json.dumps(variables))
    terraform(example, "apply", "-auto-approve")
    terraform(example, "plan", "-out=again")
    left = set(changes(terraform(example, "show", "-json", "again"))) - FORGOTTEN
    if left:
        sys.exit(f"a second plan: expected no change, found {sorted(left)}")
    described = local.aws("cloudformation").describe_stacks(StackName="gwtm")["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    task = local.aws("ecs").describe_task_definition(taskDefinition="gwtm-bridge")["taskDefinition"]
    environment = {one["name"]: one["value"] for one in task["containerDefinitions"][0]["environment"]}
    flows = {f"{name.removesuffix('FlowArn').upper()}_FLOW_ARN": name for name in outputs if name.endswith("FlowArn")}
    expected = {"AWS_BUCKET": "BucketName"} | flows
    for name, output in expected.items():
        if environment.get(name) != outputs[output]:
            sys.exit(f"task: `{name}`: expected the stack's {output}, found {environment.get(name)}")
    bridge = variables["bridge"]
    if environment.get("FLOWS_AT_ONCE") != "4" or environment["KAFKA_GROUP_ID"] != bridge["group_id"]:
        sys.exit(f"task: expected the bridge's settings and group, found {environment}")
    service = local.aws("ecs").describe_services(cluster="gwtm-bridge", services=["gwtm-bridge"])["services"][0]
    alarm = local.aws("cloudwatch").describe_alarms(AlarmNames=["gwtm-bridge-stopped"])["MetricAlarms"][0]
    policy = local.aws("iam").get_role_policy(RoleName="gwtm-bridge-start", PolicyName="start")["PolicyDocument"]
    found = {
        "log_retention_days": local.aws("logs").describe_log_groups(logGroupNamePrefix="/ecs/gwtm-bridge")["logGroups"][0]["retentionInDays"],
        "alarm_topic_arn": alarm["AlarmActions"][0],
        "kms_key_arns": [one["Resource"] for one in policy["Statement"] if one["Action"] == "kms:Decrypt"],
        "assign_public_ip": service["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "ENABLED",
    }
    if found != {name: bridge[name] for name in found}:
        sys.exit(f"bridge: expected the example's variables, found {found}")
    for function in local.aws("lambda").list_functions()["Functions"]:
        settings = function["Environment"]["Variables"].get("SETTINGS")
        if json.loads(settings or "{}") != variables["settings"]:
            sys.exit(f"{function['FunctionName']}: expected the settings {variables['settings']}, found {settings}")
    # Substitutes the names of functions and bucket.
    listed = local.aws("cloudformation").get_paginator("list_stack_resources").paginate(StackName="gwtm")
    names = {one["LogicalResourceId"]: one["PhysicalResourceId"] for page in listed for one in page["StackResourceSummaries"]}
    arns = {one["FunctionName"]: one["FunctionArn"] for one in local.aws("lambda").list_functions()["Functions"]}
    machines = local.stepfunctions_backends["123456789012"][local.REGION].state_machines
    for name, wanted in definitions.items():
        machine = next(one for one in machines if one.arn == names[name])
        text = re.sub(r"\$\{(\w+)\}", lambda found: arns.get(names[found[1]], names[found[1]]), json.dumps(wanted))
        if json.loads(machine.definition) != json.loads(text):
            sys.exit(f"{name}: expected the definition of its file, found {machine.definition[:300]}")
    terraform(example, "destroy", "-auto-approve")


main()
