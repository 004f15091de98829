data "aws_iam_policy_document" "ecs" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# Permissions of ECS to start the task: image, log and GCN client.
resource "aws_iam_role" "start" {
  name               = "${local.name}-start"
  assume_role_policy = data.aws_iam_policy_document.ecs.json
}

data "aws_iam_policy_document" "start" {
  dynamic "statement" {
    for_each = { for action, arns in {
      "secretsmanager:GetSecretValue" = local.secret_arns
      "ssm:GetParameters"             = local.parameter_arns
    } : action => arns if length(arns) > 0 }
    content {
      actions   = [statement.key]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = length(local.stack_keys) + length(var.kms_key_arns) > 0 ? [1] : []
    content {
      actions   = ["kms:Decrypt"]
      resources = concat(local.stack_keys, var.kms_key_arns)
    }
  }

  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.bridge.arn}:*"]
  }

  # The image's repository in ECR, whose log-in supports no resource-level permission.
  dynamic "statement" {
    for_each = local.ecr_repositories
    content {
      actions   = ["ecr:GetAuthorizationToken"]
      resources = ["*"]
    }
  }

  dynamic "statement" {
    for_each = local.ecr_repositories
    content {
      actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role_policy" "start" {
  name   = "start"
  role   = aws_iam_role.start.id
  policy = data.aws_iam_policy_document.start.json
}

# Permissions of the bridge: write notices and failures, start the two flows and poll their executions.
resource "aws_iam_role" "bridge" {
  name               = local.name
  assume_role_policy = data.aws_iam_policy_document.ecs.json
}

data "aws_iam_policy_document" "bridge" {
  statement {
    actions   = ["s3:PutObject"]
    resources = ["${local.stack["BucketArn"]}/inbox/*", "${local.stack["BucketArn"]}/failed/*"]
  }

  # To check whether inbox/ has a failed notice's body; without ListBucket S3 returns 403 instead of 404.
  statement {
    actions   = ["s3:GetObject"]
    resources = ["${local.stack["BucketArn"]}/inbox/*"]
  }

  statement {
    actions   = ["s3:ListBucket"]
    resources = [local.stack["BucketArn"]]
  }

  statement {
    actions   = ["states:StartExecution"]
    resources = values(local.flows)
  }

  # To poll executions.
  statement {
    actions   = ["states:DescribeExecution"]
    resources = [for arn in values(local.flows) : "${replace(arn, ":stateMachine:", ":execution:")}:*"]
  }

  dynamic "statement" {
    for_each = local.stack_keys
    content {
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role_policy" "bridge" {
  name   = "bridge"
  role   = aws_iam_role.bridge.id
  policy = data.aws_iam_policy_document.bridge.json
}
