variable "stack_name" {
  description = "Name of the CloudFormation stack made from infra/template.yaml; its outputs name the bucket, the flows and the alarm topic."
  type        = string
}

variable "name" {
  description = "Name of the service and prefix of everything it needs; empty is the stack's name and `-bridge`."
  type        = string
  default     = ""
}

variable "image" {
  description = "The bridge's container image, for instance in ECR."
  type        = string
}

variable "gcn_secret_arn" {
  description = "ARN of the Secrets Manager secret with the GCN client, a JSON object with `client_id` and `client_secret`; empty when `secrets` has KAFKA_CLIENT_ID and KAFKA_CLIENT_SECRET."
  type        = string
  default     = ""

  validation {
    condition     = var.gcn_secret_arn == "" || startswith(var.gcn_secret_arn, "arn:")
    error_message = "gcn_secret_arn: expected an ARN."
  }
}

variable "gcn_domain" {
  description = "Which GCN to listen to."
  type        = string
  default     = "gcn.nasa.gov"

  validation {
    condition     = contains(["gcn.nasa.gov", "test.gcn.nasa.gov", "dev.gcn.nasa.gov"], var.gcn_domain)
    error_message = "gcn_domain: expected gcn.nasa.gov, test.gcn.nasa.gov or dev.gcn.nasa.gov."
  }
}

variable "group_id" {
  description = "Kafka consumer group, under which the broker keeps the position; empty derives it from the stack's name, the account and the region. Keep it: another group begins anew."
  type        = string
  default     = ""
}

variable "offset_reset" {
  description = "Where a new group begins: `latest`, `earliest`, a time such as `2026-11-01T00:00:00Z` or how long ago, such as `24h`."
  type        = string
  default     = "latest"
}

variable "settings" {
  description = "Any other setting of docs/settings.md that is no secret, by its name, such as FLOWS_AT_ONCE or, where notices are kept elsewhere than in the stack's bucket, STORAGE_BUCKET_SOURCE and that store's."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Settings that are secrets, by their names: ARNs of parameters of Systems Manager, which are free, or of Secrets Manager secrets, with `:key::` behind where it is one of several."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.secrets) : startswith(arn, "arn:")])
    error_message = "secrets: expected ARNs."
  }
}

variable "kms_key_arns" {
  description = "ARNs of your KMS keys with which the secrets above are encrypted; the stack's own key is known."
  type        = list(string)
  default     = []
}

variable "vpc_id" {
  description = "The VPC the task runs in."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets with a way out to the internet: Kafka on 9092, HTTPS on 443."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "subnet_ids: expected at least one."
  }
}

variable "assign_public_ip" {
  description = "Whether the task gets a public address: true in public subnets, false behind a NAT gateway."
  type        = bool
  default     = true
}

variable "cpu_architecture" {
  description = "The image's architecture, X86_64 or ARM64."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.cpu_architecture)
    error_message = "cpu_architecture: expected X86_64 or ARM64."
  }
}

variable "alarm_topic_arn" {
  description = "ARN of an SNS topic for alarms; empty is the stack's."
  type        = string
  default     = ""
}

variable "log_retention_days" {
  description = "How long logs are kept [days]."
  type        = number
  default     = 90
}
