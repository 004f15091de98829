# Needs no account: the provider and the stack's outputs are mocked.
mock_provider "aws" {
  override_data {
    target = data.aws_cloudformation_stack.functions
    values = {
      outputs = {
        BucketName     = "stack-bucket"
        BucketArn      = "arn:aws:s3:::stack-bucket"
        LigoFlowArn    = "arn:aws:states:us-east-2:123456789012:stateMachine:ligo"
        IcecubeFlowArn = "arn:aws:states:us-east-2:123456789012:stateMachine:icecube"
        AlarmTopicArn  = "arn:aws:sns:us-east-2:123456789012:alarms"
        KmsKeyArn      = "none"
      }
    }
  }

  override_data {
    target = data.aws_region.current
    values = { name = "us-east-2" }
  }

  override_data {
    target = data.aws_partition.current
    values = { partition = "aws" }
  }

  override_data {
    target = data.aws_iam_policy_document.ecs
    values = { json = "{}" }
  }

  override_data {
    target = data.aws_iam_policy_document.start
    values = { json = "{}" }
  }

  override_data {
    target = data.aws_iam_policy_document.bridge
    values = { json = "{}" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-2:123456789012:log-group:mock" }
  }

  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:us-east-2:123456789012:task-definition/mock:1" }
  }
}

variables {
  stack_name     = "gwtm"
  image          = "123456789012.dkr.ecr.us-east-2.amazonaws.com/gwtm-bridge:1"
  gcn_secret_arn = "arn:aws:secretsmanager:us-east-2:123456789012:secret:gcn"
  vpc_id         = "vpc-1"
  subnet_ids     = ["subnet-1"]
}

run "one_task_that_knows_the_stack" {
  command = apply

  assert {
    condition     = aws_ecs_service.bridge.desired_count == 1 && aws_ecs_service.bridge.deployment_maximum_percent == 100 && aws_ecs_service.bridge.availability_zone_rebalancing == "DISABLED"
    error_message = "expected one task and never two"
  }

  assert {
    condition = alltrue([
      for expected in [
        { name = "AWS_BUCKET", value = "stack-bucket" },
        { name = "LIGO_FLOW_ARN", value = "arn:aws:states:us-east-2:123456789012:stateMachine:ligo" },
        { name = "ICECUBE_FLOW_ARN", value = "arn:aws:states:us-east-2:123456789012:stateMachine:icecube" },
      ] : contains(jsondecode(aws_ecs_task_definition.bridge.container_definitions)[0].environment, expected)
    ])
    error_message = "expected the stack's outputs in the environment"
  }

  assert {
    condition = sort([for secret in jsondecode(aws_ecs_task_definition.bridge.container_definitions)[0].secrets : secret.name]) == tolist([
      "KAFKA_CLIENT_ID", "KAFKA_CLIENT_SECRET"
    ])
    error_message = "expected the GCN client as secrets"
  }

  assert {
    condition     = length(data.aws_iam_policy_document.bridge.statement) == 5 && alltrue([for statement in data.aws_iam_policy_document.bridge.statement : alltrue([for resource in statement.resources : resource != "*"])])
    error_message = "expected a role for named resources alone"
  }
}

run "a_service_that_does_not_start_rolls_back_and_alarms_have_an_end" {
  command = plan

  assert {
    condition     = one(aws_ecs_service.bridge.deployment_circuit_breaker).enable && one(aws_ecs_service.bridge.deployment_circuit_breaker).rollback
    error_message = "expected a circuit breaker with rollback"
  }

  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.watched), [aws_cloudwatch_metric_alarm.stopped]) :
      alarm.alarm_actions == toset(["arn:aws:sns:us-east-2:123456789012:alarms"]) && alarm.ok_actions == alarm.alarm_actions && strcontains(alarm.alarm_description, "docs/operations.md")
    ])
    error_message = "expected every alarm to reach the stack's topic, its end too, and to name the runbook"
  }

  assert {
    condition = alltrue([
      for words in ["lost the broker", "still without the broker", "no heartbeat from the broker", "retrying notice"] :
      strcontains(aws_cloudwatch_log_metric_filter.watched["trouble"].pattern, "?\"${words}\"")
    ])
    error_message = "expected an alarm on a lost broker, a missing heartbeat and a retrying notice"
  }

  assert {
    condition = alltrue([
      for words in ["not listening", "log-in:"] : strcontains(aws_cloudwatch_log_metric_filter.watched["not-listening"].pattern, "?\"${words}\"")
    ]) && one(aws_cloudwatch_log_metric_filter.fenced.metric_transformation).name == one(aws_cloudwatch_log_metric_filter.watched["not-listening"].metric_transformation).name
    error_message = "expected an alarm on a bridge that is not listening, fenced, or whose log-in is rejected"
  }

  # A line in each 7 minutes: 300 s and RETRY_MAX_SECONDS, 60 s, and a minute.
  assert {
    condition = [for field in ["period", "evaluation_periods", "datapoints_to_alarm", "threshold", "comparison_operator", "treat_missing_data"] : tostring(aws_cloudwatch_metric_alarm.watched["trouble"][field])] == [
      "60", "28", "4", "1", "GreaterThanOrEqualToThreshold", "notBreaching"
    ]
    error_message = "expected an alarm on lines in 4 of 28 minutes"
  }

  assert {
    condition = [for field in ["period", "evaluation_periods", "datapoints_to_alarm", "threshold", "comparison_operator", "treat_missing_data"] : tostring(aws_cloudwatch_metric_alarm.watched["not-listening"][field])] == [
      "1800", "1", "1", "2", "GreaterThanOrEqualToThreshold", "notBreaching"
    ]
    error_message = "expected an alarm on two lines in half an hour"
  }
}

run "rarer_retries_are_waited_for" {
  command = plan

  variables {
    settings = { RETRY_MAX_SECONDS = "600" }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.watched["trouble"].evaluation_periods == 64
    error_message = "expected 4 times 16 minutes"
  }
}

run "health_and_first_start" {
  command = plan

  assert {
    condition     = local.environment["KAFKA_OFFSET_RESET"] == "latest" && local.environment["HEALTH_MOCK_MINUTES"] == "0"
    error_message = "expected a new group to start with the next notice, and no restart for missing mocks"
  }
}

run "a_new_group_may_start_earlier" {
  command = plan

  variables {
    offset_reset = "24h"
  }

  assert {
    condition     = local.environment["KAFKA_OFFSET_RESET"] == "24h"
    error_message = "expected the variable offset_reset"
  }
}

run "the_stacks_own_key" {
  command = plan

  override_data {
    target = data.aws_cloudformation_stack.functions
    values = {
      outputs = {
        BucketName     = "stack-bucket"
        BucketArn      = "arn:aws:s3:::stack-bucket"
        LigoFlowArn    = "arn:aws:states:us-east-2:123456789012:stateMachine:ligo"
        IcecubeFlowArn = "arn:aws:states:us-east-2:123456789012:stateMachine:icecube"
        AlarmTopicArn  = "arn:aws:sns:us-east-2:123456789012:alarms"
        KmsKeyArn      = "arn:aws:kms:us-east-2:123456789012:key/stack"
      }
    }
  }

  assert {
    condition = [
      for statement in data.aws_iam_policy_document.bridge.statement : statement.resources if statement.actions == toset(["kms:Decrypt", "kms:GenerateDataKey"])
    ] == [toset(["arn:aws:kms:us-east-2:123456789012:key/stack"])] && length(data.aws_iam_policy_document.bridge.statement) == 6
    error_message = "expected the bridge to read and write with the bucket's key, and nothing else more than without it"
  }

  assert {
    condition = [
      for statement in data.aws_iam_policy_document.start.statement : statement.resources if statement.actions == toset(["kms:Decrypt"])
    ] == [toset(["arn:aws:kms:us-east-2:123456789012:key/stack"])]
    error_message = "expected the start of the task to read secrets with the key"
  }
}

run "two_stacks_do_not_meet" {
  command = plan

  variables {
    stack_name = "gwtm-test"
  }

  assert {
    condition     = local.name == "gwtm-test-bridge" && local.environment["KAFKA_GROUP_INSTANCE_ID"] == "gwtm-test-bridge"
    error_message = "expected names from the stack's"
  }

  # printf us-east-2:123456789012 | sha256sum
  assert {
    condition     = local.environment["KAFKA_GROUP_ID"] == "gwtm-test-c3e58550"
    error_message = "expected the group from stack, region and account, found ${local.environment["KAFKA_GROUP_ID"]}"
  }
}

run "another_store_works_by_settings_and_secrets" {
  command = plan

  variables {
    settings     = { STORAGE_BUCKET_SOURCE = "swift", OS_AUTH_URL = "https://keystone.example.org/v3", FLOWS_AT_ONCE = "4" }
    secrets      = { OS_PASSWORD = "arn:aws:secretsmanager:us-east-2:123456789012:secret:swift:OS_PASSWORD::" }
    kms_key_arns = ["arn:aws:kms:us-east-2:123456789012:key/1"]
  }

  assert {
    condition     = local.environment["STORAGE_BUCKET_SOURCE"] == "swift" && local.environment["FLOWS_AT_ONCE"] == "4"
    error_message = "expected the settings in the environment"
  }

  assert {
    condition = contains(flatten([for statement in data.aws_iam_policy_document.start.statement : statement.resources]), "arn:aws:secretsmanager:us-east-2:123456789012:secret:swift") && contains(flatten([
      for statement in data.aws_iam_policy_document.start.statement : statement.resources
    ]), "arn:aws:kms:us-east-2:123456789012:key/1")
    error_message = "expected the secret and its key to be readable"
  }
}

run "the_image_is_pulled_from_its_repository_alone" {
  command = plan

  assert {
    condition     = local.ecr_repositories == ["arn:aws:ecr:us-east-2:123456789012:repository/gwtm-bridge"]
    error_message = "expected the image's repository, found ${jsonencode(local.ecr_repositories)}"
  }
}

run "an_image_from_elsewhere_needs_no_repository" {
  command = plan

  variables {
    image = "ghcr.io/example/gwtm-bridge:1"
  }

  assert {
    condition     = local.ecr_repositories == []
    error_message = "expected no repository"
  }
}

run "another_gcn_is_refused" {
  command         = plan
  expect_failures = [var.gcn_domain]

  variables {
    gcn_domain = "gcn.example.org"
  }
}

run "the_gcn_client_may_be_parameters_which_are_free" {
  command = plan

  variables {
    gcn_secret_arn = ""
    secrets = {
      KAFKA_CLIENT_ID     = "arn:aws:ssm:us-east-2:123456789012:parameter/gwtm/client_id"
      KAFKA_CLIENT_SECRET = "arn:aws:ssm:us-east-2:123456789012:parameter/gwtm/client_secret"
    }
  }

  assert {
    condition     = [for statement in data.aws_iam_policy_document.start.statement : statement.resources if contains(statement.actions, "ssm:GetParameters")] == [toset(values(var.secrets))]
    error_message = "expected the parameters to be readable"
  }
}

run "a_bridge_without_a_client_is_refused" {
  command         = plan
  expect_failures = [aws_ecs_task_definition.bridge]

  variables {
    gcn_secret_arn = ""
  }
}
