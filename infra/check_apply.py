"""Applies the Terraform module to moto, beside the stack whose outputs it reads, and plans again: nothing may be left.

    check_apply.py MODULE    a copy of infra/terraform in which `terraform init` has run; a provider is written into it
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import local

PROVIDER = """
provider "aws" {
  region                      = "us-east-2"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  s3_use_path_style           = true
}
"""


# What the emulator does not keep: Terraform would set these again for ever.
FORGOTTEN = {("aws_ecs_service.bridge", "availability_zone_rebalancing")}


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
    """Every attribute that a plan changes."""
    for resource in json.loads(plan).get("resource_changes", []):
        change = resource["change"]
        if change["actions"] not in (["no-op"], ["read"]):
            before, after = change["before"] or {}, change["after"] or {}
            names = before.keys() | after.keys() | (change["after_unknown"] or {}).keys()
            yield from ((resource["address"], name) for name in names if before.get(name) != after.get(name))


def main():
    module = Path(sys.argv[1])
    stack = local.Stack({}, [], hurry=False)
    ec2 = local.aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    secret = local.aws("secretsmanager").create_secret(Name="gcn", SecretString='{"client_id":"","client_secret":""}')
    (module / "provider.tf").write_text(PROVIDER)
    (module / "terraform.tfvars.json").write_text(
        json.dumps(
            {
                "stack_name": "gwtm",
                "image": "123456789012.dkr.ecr.us-east-2.amazonaws.com/gwtm-bridge:1",
                "gcn_secret_arn": secret["ARN"],
                "vpc_id": vpc,
                "subnet_ids": [subnet],
            }
        )
    )
    terraform(module, "apply", "-auto-approve")
    terraform(module, "plan", "-out=again")
    left = set(changes(terraform(module, "show", "-json", "again"))) - FORGOTTEN
    if left:
        sys.exit(f"a second plan: expected no change, found {sorted(left)}")
    task = local.aws("ecs").describe_task_definition(taskDefinition="gwtm-bridge")["taskDefinition"]
    container = task["containerDefinitions"][0]
    environment = {one["name"]: one["value"] for one in container["environment"]}
    expected = {"AWS_BUCKET": "BucketName", "LIGO_FLOW_ARN": "LigoFlowArn", "ICECUBE_FLOW_ARN": "IcecubeFlowArn"}
    for name, output in expected.items():
        if environment.get(name) != stack.outputs[output]:
            sys.exit(f"task: `{name}`: expected the stack's {output}, found {environment.get(name)}")
    terraform(module, "destroy", "-auto-approve")


main()
