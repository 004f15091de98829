"""Checks infra/template.yaml: each function's permissions, settings and secrets, retention, and alarms."""

import json
import re
import sys
import tomllib

import bill
import stack

# Secrets that each function may read, besides StorageSecret.
SECRETS = {"PostApi": "ApiTokenSecret", "Audit": "ApiTokenSecret", "Annotate": "NotifySecret", "Notify": "NotifySecret"}
# Prefixes that each function may read, write and delete.
READS = {
    "IngestLigo": "inbox fit test",
    "IngestIcecube": "inbox fit*-icecube-* test*-icecube-*",
    "SkymapProducts": "fit test fermi swift",
    "GalaxyList": "fit test galaxy_catalog",
    "PostApi": "fit test work",
    "Annotate": "fit test work",
    "Notify": "fit test inbox work",
}
WRITES = {
    "IngestLigo": "fit test",
    "IngestIcecube": "fit*-icecube-* test*-icecube-*",
    "SkymapProducts": "fit test fermi swift/timeline",
    "GalaxyList": "work fit*-galaxies.csv test*-galaxies.csv",
    "PostApi": "work fit*.fits.gz fit*-contours-smooth.json test*.fits.gz test*-contours-smooth.json",
    "Annotate": "fit test work",
    "Notify": "work",
    "Audit": "audit inbox/gracedb",
}
DELETES = {"PostApi": "work*.pending.json"}
ALLOWED = {"s3:GetObject": READS, "s3:PutObject": WRITES, "s3:DeleteObject": DELETES}
LIMIT_DOLLARS, LIMIT_GB_SECONDS = 15, 1.0

problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)


def flat(value):
    """All parts of a value, over all branches of its conditions."""
    if isinstance(value, list):
        return [part for one in value for part in flat(one)]
    if isinstance(value, dict) and list(value) == ["Fn::If"]:
        return flat(value["Fn::If"][1:])
    return [] if value == {"Ref": "AWS::NoValue"} else [value]


def text(value):
    """A resource as text: `${Bucket.Arn}/fit/*`."""
    if isinstance(value, dict):
        kind, what = next(iter(value.items()))
        return what if kind == "Fn::Sub" else "${" + (".".join(what) if isinstance(what, list) else what) + "}"
    return value


def rights(made, function):
    """A function's permissions: effect, action and resource."""
    resources = made["Resources"]
    role = resources[resources[function]["Properties"]["Role"]["Fn::GetAtt"][0]]["Properties"]
    documents = [policy["PolicyDocument"] for policy in role["Policies"]]
    for managed in role["ManagedPolicyArns"]:
        if isinstance(managed, dict) and managed.get("Ref") in resources:
            documents.append(resources[managed["Ref"]]["Properties"]["PolicyDocument"])
        else:
            expect("AWSLambdaBasicExecutionRole" in str(managed), f"{function}: managed policy {managed}")
    for statement in flat([document["Statement"] for document in documents]):
        for action in flat(statement["Action"]):
            for resource in flat(statement.get("Resource", [])):
                yield statement["Effect"], action, text(resource)
            for resource in flat(statement.get("NotResource", [])):
                yield statement["Effect"] + " elsewhere", action, text(resource)


def check_rights(made):
    for function in stack.functions():
        found = set(rights(made, function))
        wanted = {
            ("Deny elsewhere", "logs:*", "${Log.Arn}"),
            ("Allow", "s3:ListBucket", "${Bucket.Arn}"),
            ("Allow", "secretsmanager:GetSecretValue", "${StorageSecret}"),
            ("Allow", "kms:Decrypt", "${KmsKey}"),
            ("Allow", "kms:GenerateDataKey", "${KmsKey}"),
        }
        if function in SECRETS:
            wanted.add(("Allow", "secretsmanager:GetSecretValue", "${" + SECRETS[function] + "}"))
        if function == "Notify":
            wanted.add(("Allow", "sns:Publish", "${NotifyTopics}"))
        if function == "Audit":
            wanted.add(("Allow", "s3:GetObject", "${Bucket.Arn}/*"))
            wanted.add(("Allow", "states:StartExecution", "${LigoFlow}"))
        for action, places in ALLOWED.items():
            for place in places.get(function, "").split():
                folder, _, rest = place.partition("*")
                wanted.add(("Allow", action, f"${{Bucket.Arn}}/{folder}/*{rest}"))
        expect(found == wanted, f"{function}: may too much {found - wanted}, too little {wanted - found}")


def check_functions(made):
    for function in stack.functions():
        properties = made["Resources"][function]["Properties"]
        variables = properties["Environment"]["Variables"]
        expect(variables.get("SETTINGS") == {"Ref": "Settings"}, f"{function}: expected the parameter Settings in SETTINGS")
        expect(properties["LoggingConfig"] == {"LogGroup": {"Ref": "Log"}}, f"{function}: expected the stack's log")
        secret = re.search("TOKEN|PASSWORD|SECRET$|NOTIFY", " ".join(variables))
        expect(not secret, f"{function}: a secret in its environment: {secret}")
        # An account with a quota of 10 rejects any reservation.
        reserved = properties.get("ReservedConcurrentExecutions")
        expect(reserved is None or reserved["Fn::If"][0] == "Reserves", f"{function}: reserves concurrency {reserved}")
    for name, wanted in {"ReserveConcurrency": "false", "Architecture": "x86_64"}.items():
        expect(made["Parameters"][name]["Default"] == wanted, f"{name}: expected the default {wanted}")


def check_bucket(made):
    bucket = made["Resources"]["Bucket"]
    expect(bucket["DeletionPolicy"] == "RetainExceptOnCreate", "the bucket of a stack that is rejected stays behind")
    rules = {rule["Id"]: rule for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]}
    expires = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules.values() if "ExpirationInDays" in rule}
    mocks = {"Ref": "MockDays"}
    wanted = {"test/": mocks, "work/MS": mocks, "inbox/mock.": mocks}
    expect(expires == wanted, f"expected what is of mocks to expire, and nothing else: {expires}")


def check_watching(made):
    resources = made["Resources"]
    topic = {"Fn::If": ["OwnTopic", {"Ref": "Alarms"}, {"Ref": "AlarmTopic"}]}
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            told = properties["AlarmActions"] == properties["OKActions"] == [topic]
            expect(told, f"{name}: expected its beginning and its end to be told")
            expect("docs/operations.md" in properties["AlarmDescription"], f"{name}: expected the runbook")
        if resource["Type"] == "AWS::Events::Rule":
            target = properties["Targets"][0]
            expect(target["Arn"] == topic and target["InputTransformer"]["InputPathsMap"], f"{name}: names no notice")
    alarm = resources["NothingSucceeded"]["Properties"]
    hours = alarm["Period"] * alarm["EvaluationPeriods"] / 3600
    expect(hours == 3 and alarm["TreatMissingData"] == "breaching", "NothingSucceeded: expected 3 h, missing data breaching")
    failed = resources["FailedFlow"]["Properties"]["EventPattern"]["detail"]
    expect(set(failed["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}, "FailedFlow: expected every bad end")
    expect(len(bill.alarms()) <= 10, f"expected at most ten alarms, found {bill.alarms()}")
    expect(len(bill.metrics()) <= 10, f"expected at most ten custom metrics, found {bill.metrics()}")


def check_environments(made):
    config = tomllib.loads((stack.INFRA / "samconfig.toml").read_text())
    names = {name: config[name]["global"]["parameters"]["stack_name"] for name in ("dev", "test", "prod")}
    expect(len(set(names.values())) == 3, f"samconfig.toml: expected a stack for each environment, found {names}")
    for name in names:
        given = {pair.split("=")[0] for pair in config[name]["deploy"]["parameters"]["parameter_overrides"]}
        expect(given <= made["Parameters"].keys(), f"samconfig.toml: {name}: {given - made['Parameters'].keys()}: no parameter")


def main():
    made = stack.translated()
    check_rights(made)
    check_functions(made)
    check_bucket(made)
    check_watching(made)
    check_environments(made)
    lines = len((stack.INFRA / "template.yaml").read_text().splitlines())
    expect(lines <= 640, f"template.yaml: expected at most 640 lines, found {lines}")
    prefix = re.search(r'const MOCK_PREFIX: &str = "([^"]+)"', (stack.INFRA.parent / "shared/kafka/src/archive.rs").read_text())
    expect(prefix[1] == "mock.", f"mocks in the inbox: expected the prefix `mock.`, found {prefix[1]}")
    dollars = bill.total(bill.items())
    expect(dollars <= LIMIT_DOLLARS, f"the bill: expected at most ${LIMIT_DOLLARS} a month, found ${dollars:.2f}")
    gb_seconds = bill.alert_gb_seconds()
    expect(gb_seconds <= LIMIT_GB_SECONDS, f"an alert: expected at most {LIMIT_GB_SECONDS} GB·s, found {gb_seconds:.2f}")
    print("\n".join(problems))
    sys.exit(bool(problems))


main()
