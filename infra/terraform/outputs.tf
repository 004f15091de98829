output "log_group" {
  description = "Log group of the bridge."
  value       = aws_cloudwatch_log_group.bridge.name
}

output "task_role_arn" {
  description = "Role of the bridge."
  value       = aws_iam_role.bridge.arn
}
