# Two metrics from log lines of the bridge, which name the notice or the reason.
locals {
  watched = {
    trouble = {
      pattern     = "?\"no heartbeat from the broker\" ?\"retrying notice\""
      description = "No heartbeat from GCN for minutes, or a notice keeps being retried."
      # Both are logged at least once a minute; a single retry is no problem.
      period    = 300
      threshold = 4
    }
    not-listening = {
      pattern     = "?\"not listening\" ?\"log-in:\""
      description = "The bridge is not listening: fenced by another process, or the log-in is rejected."
      # Logged before each rejoin: the first two within two seconds, later ones at most ten minutes apart.
      period    = 1800
      threshold = 3
    }
  }
}

resource "aws_cloudwatch_log_metric_filter" "watched" {
  for_each       = local.watched
  name           = "${local.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.bridge.name
  pattern        = each.value.pattern

  metric_transformation {
    namespace = "gwtm"
    name      = "${local.name}-${each.key}"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "watched" {
  for_each            = local.watched
  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.description} See docs/operations.md, Nothing arrives."
  namespace           = "gwtm"
  metric_name         = aws_cloudwatch_log_metric_filter.watched[each.key].metric_transformation[0].name
  statistic           = "Sum"
  period              = each.value.period
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

# ECS reports no CPU while no task is running. This metric is free, unlike Container Insights.
resource "aws_cloudwatch_metric_alarm" "stopped" {
  alarm_name          = "${local.name}-stopped"
  alarm_description   = "The bridge is not running. See docs/operations.md, Nothing arrives."
  namespace           = "AWS/ECS"
  metric_name         = "CPUUtilization"
  dimensions          = { ClusterName = aws_ecs_cluster.bridge.name, ServiceName = aws_ecs_service.bridge.name }
  statistic           = "SampleCount"
  period              = 300
  evaluation_periods  = 2
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}
