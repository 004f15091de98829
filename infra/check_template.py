"""Checks infra/template.yaml: each function's permissions, settings and secrets, retention, alarms, and the bill.

Also checks the Terraform module where it must agree with other files: log lines, and the example.
"""

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
LIMIT_ZIP_MIB, LIMIT_START_MS = 8, 10
ROOT = stack.INFRA.parent
# What the bridge logs.
LOGGING = ("shared/kafka/src", "functions/bridge/src")
# The alarm on missing mocks: none of a LIGO flow's hours has had a success for three.
DEAD_MAN = {
    "Namespace": "AWS/States",
    "MetricName": "ExecutionsSucceeded",
    "Dimensions": [{"Name": "StateMachineArn", "Value": {"Ref": "LigoFlow"}}],
    "Statistic": "Sum",
    "Period": 3600,
    "EvaluationPeriods": 3,
    "ComparisonOperator": "LessThanThreshold",
    "Threshold": 1,
    "TreatMissingData": "breaching",
}
# Events that name a failed notice.
FAILURES = {
    "FailedObject": {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [{"Ref": "Bucket"}]}, "object": {"key": [{"prefix": "failed/"}]}},
    },
    "FailedFlow": {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {
            "status": ["FAILED", "TIMED_OUT", "ABORTED"],
            "stateMachineArn": [{"Ref": "LigoFlow"}, {"Ref": "IcecubeFlow"}],
        },
    },
}
# Variables of the module that the example derives.
DERIVED = {"stack_name", "name"}

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
        expect(properties["Architectures"] == [{"Ref": "Architecture"}], f"{function}: expected the parameter Architecture")
        # An account with a quota of 10 rejects any reservation.
        reserved = properties.get("ReservedConcurrentExecutions")
        expect(reserved is None or reserved["Fn::If"][0] == "Reserves", f"{function}: reserves concurrency {reserved}")
    for name, wanted in {"ReserveConcurrency": "false", "Architecture": "x86_64", "MockDays": 60}.items():
        expect(made["Parameters"][name]["Default"] == wanted, f"{name}: expected the default {wanted}")


def check_bucket(made):
    bucket = made["Resources"]["Bucket"]
    expect(bucket["DeletionPolicy"] == "RetainExceptOnCreate", "the bucket of a stack that is rejected stays behind")
    rules = {rule["Id"]: rule for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]}
    expires = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules.values() if "ExpirationInDays" in rule}
    mocks = {"Ref": "MockDays"}
    wanted = {"test/": mocks, "work/MS": mocks, "inbox/mock.": mocks}
    expect(expires == wanted, f"expected what is of mocks to expire, and nothing else: {expires}")
    encryption = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    key = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Ref": "KmsKey"}}, "BucketKeyEnabled": True}
    expect([one["Fn::If"][:2] for one in encryption] == [["HasKey", key]], f"expected KmsKey to encrypt the bucket: {encryption}")
    (policy,) = made["Resources"]["FlowRole"]["Properties"]["Policies"]
    rights = {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": {"Ref": "KmsKey"}}
    given = {"Fn::If": ["HasKey", rights, {"Ref": "AWS::NoValue"}]}
    expect(given in policy["PolicyDocument"]["Statement"], "FlowRole: expected to write failures with KmsKey")


def runbook(text):
    """The heading of docs/operations.md that a text ends with; none if there is none."""
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    return next((heading for heading in headings if "docs/operations.md" in text and re.search(rf"{heading}[.\"]*$", text)), None)


def check_alarm(name, alarm, topic):
    expect(alarm["AlarmActions"] == alarm["OKActions"] == [topic], f"{name}: expected its beginning and its end to be told")
    expect(runbook(alarm["AlarmDescription"]), f"{name}: expected a heading of docs/operations.md: {alarm['AlarmDescription']}")
    # `waiting for row n` and other retries are errors to Lambda.
    source = alarm["Namespace"], alarm["MetricName"]
    expect(source[0] != "AWS/Lambda" and source[1] != "retryable_errors", f"{name}: expected no alarm on retries, found {source}")


def check_watching(made):
    resources = made["Resources"]
    topic = {"Fn::If": ["OwnTopic", {"Ref": "Alarms"}, {"Ref": "AlarmTopic"}]}
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            check_alarm(name, properties, topic)
        if resource["Type"] == "AWS::Events::Rule":
            target = properties["Targets"][0]
            expect(target["Arn"] == topic and target["InputTransformer"]["InputPathsMap"], f"{name}: names no notice")
            said = text(target["InputTransformer"]["InputTemplate"])
            expect(runbook(said), f"{name}: expected a heading of docs/operations.md: {said}")
    alarm = {field: resources["NothingSucceeded"]["Properties"].get(field) for field in DEAD_MAN}
    expect(alarm == DEAD_MAN, f"NothingSucceeded: expected {DEAD_MAN}, found {alarm}")
    period, between = resources["AuditFindings"]["Properties"]["Period"], 86400 / max(a_day for a_day, _ in bill.audits())
    expect(period == between, f"AuditFindings: expected the {between} s between two audits as its period, found {period}")
    rules = {name: resources[name]["Properties"]["EventPattern"] for name in FAILURES}
    expect(rules == FAILURES, f"failures: expected {FAILURES}, found {rules}")
    expect(len(bill.alarms()) <= 10, f"expected at most ten alarms, found {bill.alarms()}")
    expect(len(bill.metrics()) <= 10, f"expected at most ten custom metrics, found {bill.metrics()}")


def logged(source):
    """The string literals of a Rust file, without comments and tests."""
    code = re.sub(r"^\s*//.*$", "", source.split("#[cfg(test)]")[0], flags=re.MULTILINE)
    return re.findall(r'"((?:[^"\\]|\\.)*)"', code)


def check_log_lines():
    alarms = bill.terraform("alarms.tf")
    texts = [said for folder in LOGGING for file in (ROOT / folder).rglob("*.rs") for said in logged(file.read_text())]
    phrases = [phrase for pattern in re.findall(r"\bpattern += (.+)", alarms) for phrase in re.findall(r'\\"(.+?)\\"', pattern)]
    expect(phrases, "alarms.tf: expected filters of log lines")
    for phrase in phrases:
        expect(any(phrase in said for said in texts), f"alarms.tf: no source of {LOGGING} logs `{phrase}`")
    for description in re.findall(r'alarm_description += "(.+)"', alarms):
        expect(runbook(description), f"alarms.tf: expected a heading of docs/operations.md: {description}")


def check_example():
    """Compares the example's variable `bridge` with the module's variables: names, defaults, and that each is passed."""
    blocks = re.findall(r'^variable "(\w+)" \{(.*?)^\}', bill.terraform("variables.tf"), re.MULTILINE | re.DOTALL)
    wanted = {}
    for name, block in blocks:
        default = re.search(r"^  default += (.+)$", block, re.MULTILINE)
        wanted[name] = default and default[1]
    example = bill.terraform("example/main.tf")
    fields = re.search(r"type = object\(\{(.*?)\n  \}\)", example, re.DOTALL)[1]
    found = {}
    for name, kind in re.findall(r"^    (\w+) += (.+)$", fields, re.MULTILINE):
        default = re.fullmatch(r"optional\(.+, (.+)\)", kind)
        found[name] = default and default[1]
    wanted = {name: default for name, default in wanted.items() if name not in DERIVED}
    expect(found == wanted, f"terraform/example: expected the module's variables {wanted}, found {found}")
    passed = re.findall(r"^  (\w+) += var\.bridge\.(\w+)$", example, re.MULTILINE)
    expect(sorted(passed) == [(name, name) for name in sorted(wanted)], f"terraform/example: expected each passed, found {passed}")


def check_environments(made):
    config = tomllib.loads((stack.INFRA / "samconfig.toml").read_text())
    names = {name: config[name]["global"]["parameters"]["stack_name"] for name in ("dev", "test", "prod")}
    expect(len(set(names.values())) == 3, f"samconfig.toml: expected a stack for each environment, found {names}")
    for name in names:
        given = {pair.split("=")[0] for pair in config[name]["deploy"]["parameters"]["parameter_overrides"]}
        expect(given <= made["Parameters"].keys(), f"samconfig.toml: {name}: {given - made['Parameters'].keys()}: no parameter")


def check_programs():
    """Sizes and starts that infra/measure has kept; prints which are missing."""
    programs = json.loads(bill.MEASURED.read_text()).get("programs", {})
    missing = sorted(set(stack.functions().values()) - programs.keys())
    if missing:
        print(f"note: {bill.MEASURED.name} has no size and start of {', '.join(missing)}: run infra/measure")
    for name, found in programs.items():
        expect(found["zip_mib"] <= LIMIT_ZIP_MIB, f"{name}: expected a zip of at most {LIMIT_ZIP_MIB} MiB, found {found['zip_mib']}")
        start = found["start_processor_ms"]
        expect(start <= LIMIT_START_MS, f"{name}: expected a start of at most {LIMIT_START_MS} ms of processor time, found {start}")
    for what in bill.not_measured():
        print(f"note: {what}")


def main():
    made = stack.translated()
    check_rights(made)
    check_functions(made)
    check_bucket(made)
    check_watching(made)
    check_environments(made)
    check_log_lines()
    check_example()
    check_programs()
    lines = len((stack.INFRA / "template.yaml").read_text().splitlines())
    expect(lines <= 640, f"template.yaml: expected at most 640 lines, found {lines}")
    prefix = re.search(r'const MOCK_PREFIX: &str = "([^"]+)"', (ROOT / "shared/kafka/src/archive.rs").read_text())
    expect(prefix[1] == "mock.", f"mocks in the inbox: expected the prefix `mock.`, found {prefix[1]}")
    dollars = bill.total(bill.items())
    expect(dollars <= LIMIT_DOLLARS, f"the bill: expected at most ${LIMIT_DOLLARS} a month, found ${dollars:.2f}")
    gb_seconds = bill.alert_gb_seconds()
    expect(gb_seconds <= LIMIT_GB_SECONDS, f"an alert: expected at most {LIMIT_GB_SECONDS} GB·s, found {gb_seconds:.2f}")
    print("\n".join(problems))
    sys.exit(bool(problems))


main()
