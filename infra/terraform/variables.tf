variable "stack_name" {
  description = "Name of the CloudFormation stack of infra/template.yaml, whose outputs provide the bucket, the flows and the alarm topic."
  type        = string
}

variable "name" {
  description = "Name of the service and prefix of its resources; empty for the stack's name and `-bridge`."
  type        = string
  default     = ""
}

variable "image" {
  description = "Container image of the bridge, for example in ECR."
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
  description = "Kafka consumer group; empty to derive it from the stack's name, the account and the region. Do not change it: a new group has no position."
  type        = string
  default     = ""
}

variable "offset_reset" {
  description = "Start of a new group: `latest`, `earliest`, a time such as `2026-11-01T00:00:00Z`, or a time span ago such as `24h`."
  type        = string
  default     = "latest"
}

variable "settings" {
  description = "Other settings of docs/settings.md that are no secrets, by name, such as FLOWS_AT_ONCE, or STORAGE_BUCKET_SOURCE with the settings of another store than the stack's bucket."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Secret settings, by name: ARNs of Systems Manager parameters, which are free, or of Secrets Manager secrets, with `:key::` for one of several values."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.secrets) : startswith(arn, "arn:")])
    error_message = "secrets: expected ARNs."
  }
}

variable "kms_key_arns" {
  description = "ARNs of your KMS keys that encrypt the secrets above; the stack's own key is included."
  type        = list(string)
  default     = []
}

variable "vpc_id" {
  description = "VPC of the task."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets with internet access: Kafka on 9092, HTTPS on 443."
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
  description = "Architecture of the image, X86_64 or ARM64."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.cpu_architecture)
    error_message = "cpu_architecture: expected X86_64 or ARM64."
  }
}

variable "alarm_topic_arn" {
  description = "ARN of an SNS topic for alarms; empty for the stack's."
  type        = string
  default     = ""
}

variable "log_retention_days" {
  description = "Retention of logs [days]."
  type        = number
  default     = 90
}
