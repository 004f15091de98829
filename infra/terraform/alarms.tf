# Two metrics from log lines of the bridge, which name the notice or the reason.
#
# Each alarm looks at windows that surely hold enough lines while a problem lasts, so it is raised and stays raised:
# - A lost broker and a missing heartbeat are logged every minute. A retry is logged after a pause of at most
#   RETRY_MAX_SECONDS and an attempt of at most 300 s (timeout of S3); for a rejected certificate the pause between lines
#   is at most 300 s and RETRY_MAX_SECONDS. So each `longest_pause_minutes` have a line, and four of them have
#   lines in four different minutes. Outages under three minutes raise nothing.
# - Rejoins are at most 600 s apart, plus an attempt of less than 300 s, so half an hour has two lines. A rejected log-in
#   is logged at most 300 s apart while messages still arrive. One rejoin, after an outage, raises nothing.
locals {
  longest_pause_minutes = ceil((300 + tonumber(lookup(var.settings, "RETRY_MAX_SECONDS", "60"))) / 60) + 1
  watched = {
    trouble = {
      pattern     = "?\"lost the broker\" ?\"still without the broker\" ?\"no heartbeat from the broker\" ?\"retrying notice\""
      description = "No connection to GCN or no heartbeat for minutes, or a notice keeps being retried."
      period      = 60
      periods     = 4 * local.longest_pause_minutes
      breaching   = 4
      threshold   = 1
    }
    not-listening = {
      pattern     = "?\"not listening\" ?\"log-in:\""
      description = "The bridge is not listening: fenced by another process, or the log-in is rejected."
      period      = 1800
      periods     = 1
      breaching   = 1
      threshold   = 2
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

# A fenced bridge logs that once, then stands by. Its line counts twice, since it matches `not-listening`, too.
resource "aws_cloudwatch_log_metric_filter" "fenced" {
  name           = "${local.name}-fenced"
  log_group_name = aws_cloudwatch_log_group.bridge.name
  pattern        = "\"fenced by another listener\""

  metric_transformation {
    namespace = "gwtm"
    name      = aws_cloudwatch_log_metric_filter.watched["not-listening"].metric_transformation[0].name
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
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.breaching
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
