# The always-on bridge on ECS Fargate: one task of the smallest size.

data "aws_region" "current" {}

data "aws_partition" "current" {}

data "aws_cloudformation_stack" "functions" {
  name = var.stack_name
}

locals {
  stack = data.aws_cloudformation_stack.functions.outputs
  name  = var.name == "" ? "${var.stack_name}-bridge" : var.name
  # arn:PARTITION:states:REGION:ACCOUNT:stateMachine:NAME. The broker's groups are global, but stack names are not unique.
  owner = join(":", slice(split(":", local.stack["LigoFlowArn"]), 3, 5))
  group = "${var.stack_name}-${substr(sha256(local.owner), 0, 8)}"
  # The ARNs of the flows by the bridge's settings: LIGO_FLOW_ARN of the output LigoFlowArn, and so on.
  flows = { for output, arn in local.stack : "${upper(trimsuffix(output, "FlowArn"))}_FLOW_ARN" => arn if endswith(output, "FlowArn") }
  environment = merge(local.flows, {
    STORAGE_BUCKET_SOURCE   = "s3"
    AWS_BUCKET              = local.stack["BucketName"]
    AWS_DEFAULT_REGION      = data.aws_region.current.name
    GCN_DOMAIN              = var.gcn_domain
    KAFKA_GROUP_ID          = var.group_id == "" ? local.group : var.group_id
    KAFKA_GROUP_INSTANCE_ID = local.name
    KAFKA_OFFSET_RESET      = var.offset_reset
    # Missing mocks must not restart the task, which would not help; the stack has an alarm for them.
    HEALTH_MOCK_MINUTES = "0"
    LOG_FORMAT          = "json"
  }, var.settings)
  client = var.gcn_secret_arn == "" ? {} : {
    KAFKA_CLIENT_ID     = "${var.gcn_secret_arn}:client_id::"
    KAFKA_CLIENT_SECRET = "${var.gcn_secret_arn}:client_secret::"
  }
  secrets = merge(local.client, var.secrets)
  # arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, plus a key
  secret_arns    = distinct([for arn in values(local.secrets) : join(":", slice(split(":", arn), 0, 7)) if strcontains(arn, ":secretsmanager:")])
  parameter_arns = [for arn in values(local.secrets) : arn if strcontains(arn, ":ssm:")]
  stack_keys     = [for arn in [lookup(local.stack, "KmsKeyArn", "none")] : arn if startswith(arn, "arn:")]
  # ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG
  ecr_repositories = [
    for found in regexall("^(\\d+)\\.dkr\\.ecr\\.([a-z0-9-]+)\\.amazonaws\\.com[a-z.]*/([^:@]+)", var.image) :
    "arn:${data.aws_partition.current.partition}:ecr:${found[1]}:${found[0]}:repository/${found[2]}"
  ]
  alarm_actions = [var.alarm_topic_arn == "" ? local.stack["AlarmTopicArn"] : var.alarm_topic_arn]
}

resource "aws_cloudwatch_log_group" "bridge" {
  name              = "/ecs/${local.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_ecs_cluster" "bridge" {
  name = local.name

  # Its metrics cost more than the rest of the stack, and no alarm needs them.
  setting {
    name  = "containerInsights"
    value = "disabled"
  }
}

resource "aws_ecs_task_definition" "bridge" {
  family                   = local.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.start.arn
  task_role_arn            = aws_iam_role.bridge.arn

  lifecycle {
    precondition {
      condition     = contains(keys(local.environment), "KAFKA_BOOTSTRAP") || length(setintersection(keys(local.secrets), ["KAFKA_CLIENT_ID", "KAFKA_CLIENT_SECRET"])) == 2
      error_message = "gcn_secret_arn: expected an ARN, or KAFKA_CLIENT_ID and KAFKA_CLIENT_SECRET in secrets."
    }
  }

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  container_definitions = jsonencode([{
    name                   = "bridge"
    image                  = var.image
    essential              = true
    readonlyRootFilesystem = true
    # The bridge stops within 25 s of SIGTERM.
    stopTimeout = 30
    # Unhealthy only after five minutes without a heartbeat: a new task does not fix GCN.
    healthCheck = {
      command     = ["CMD", "bridge", "healthy"]
      interval    = 30
      timeout     = 5
      retries     = 10
      startPeriod = 120
    }
    environment = [for name, value in local.environment : { name = name, value = value }]
    secrets     = [for name, arn in local.secrets : { name = name, valueFrom = arn }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.bridge.name
        awslogs-region        = data.aws_region.current.name
        awslogs-stream-prefix = "bridge"
      }
    }
  }])
}

resource "aws_ecs_service" "bridge" {
  name            = local.name
  cluster         = aws_ecs_cluster.bridge.id
  task_definition = aws_ecs_task_definition.bridge.arn
  launch_type     = "FARGATE"
  desired_count   = 1

  # Never two tasks: the old one stops before the new one joins the group.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  # Rebalancing would start the new task first.
  availability_zone_rebalancing = "DISABLED"

  # Roll back a version that does not become healthy.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.bridge.id]
    assign_public_ip = var.assign_public_ip
  }
}

resource "aws_security_group" "bridge" {
  name        = local.name
  description = "The bridge has only outgoing connections"
  vpc_id      = var.vpc_id

  egress {
    description = "HTTPS: GCN log-in, AWS"
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    description = "Kafka: GCN"
    from_port   = 9092
    to_port     = 9092
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}
