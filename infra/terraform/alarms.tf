# Silence: the bridge says so every 30 s once GCN's heartbeat has been missing for a minute.
resource "aws_cloudwatch_log_metric_filter" "silence" {
  name           = "${var.name}-silence"
  log_group_name = aws_cloudwatch_log_group.bridge.name
  pattern        = "\"no heartbeat from the broker\""

  metric_transformation {
    namespace = "gwtm"
    name      = "${var.name}-silence"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "silence" {
  alarm_name          = "${var.name}-silence"
  alarm_description   = "No heartbeat from GCN for minutes: no notice would arrive either."
  namespace           = "gwtm"
  metric_name         = aws_cloudwatch_log_metric_filter.silence.metric_transformation[0].name
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 4
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

# Failures: a notice that went to failed/.
resource "aws_cloudwatch_log_metric_filter" "failed" {
  name           = "${var.name}-failed"
  log_group_name = aws_cloudwatch_log_group.bridge.name
  pattern        = "\"notice failed\""

  metric_transformation {
    namespace = "gwtm"
    name      = "${var.name}-failed"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "failed" {
  alarm_name          = "${var.name}-failed"
  alarm_description   = "A notice could not be handed to its flow; it is kept under failed/ with the reason."
  namespace           = "gwtm"
  metric_name         = aws_cloudwatch_log_metric_filter.failed.metric_transformation[0].name
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

# Restarts: no task is running.
resource "aws_cloudwatch_metric_alarm" "stopped" {
  alarm_name          = "${var.name}-stopped"
  alarm_description   = "The bridge is not running."
  namespace           = "ECS/ContainerInsights"
  metric_name         = "RunningTaskCount"
  dimensions          = { ClusterName = aws_ecs_cluster.bridge.name, ServiceName = aws_ecs_service.bridge.name }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = local.alarm_actions
}
