output "log_group" {
  description = "Where the bridge logs."
  value       = aws_cloudwatch_log_group.bridge.name
}

output "task_role_arn" {
  description = "The role of the bridge."
  value       = aws_iam_role.bridge.arn
}
