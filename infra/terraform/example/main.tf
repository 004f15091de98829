# The whole deployment: the stack of infra/template.yaml, after `sam build` and `sam package`, and the bridge. Copy this
# folder, fill in terraform.tfvars, and see infra/README.md.

terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
  }
}

variable "stack_name" {
  description = "Name of the stack and prefix of all resources; different for each environment."
  type        = string
  default     = "gwtm"
}

variable "packaged" {
  description = "Template written by `sam package --output-template-file`."
  type        = string
}

variable "parameters" {
  description = "Parameters of infra/template.yaml, such as ApiBase and ApiTokenSecret."
  type        = map(string)
  default     = {}
}

variable "settings" {
  description = "Other settings of docs/settings.md that are no secrets: the template's parameter Settings."
  type        = map(string)
  default     = {}
}

variable "bridge" {
  description = "Variables of the bridge, see ../variables.tf."
  type = object({
    image              = string
    gcn_secret_arn     = optional(string, "")
    vpc_id             = string
    subnet_ids         = list(string)
    assign_public_ip   = optional(bool, true)
    gcn_domain         = optional(string, "gcn.nasa.gov")
    group_id           = optional(string, "")
    offset_reset       = optional(string, "latest")
    cpu_architecture   = optional(string, "X86_64")
    settings           = optional(map(string), {})
    secrets            = optional(map(string), {})
    kms_key_arns       = optional(list(string), [])
    alarm_topic_arn    = optional(string, "")
    log_retention_days = optional(number, 90)
  })
}

resource "aws_cloudformation_stack" "functions" {
  name          = var.stack_name
  template_body = file(var.packaged)
  capabilities  = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
  parameters    = merge({ Settings = jsonencode(var.settings) }, var.parameters)
}

module "bridge" {
  source = "../"
  # Derived from the id, so that the bridge depends on the stack.
  stack_name         = split("/", aws_cloudformation_stack.functions.id)[1]
  image              = var.bridge.image
  gcn_secret_arn     = var.bridge.gcn_secret_arn
  vpc_id             = var.bridge.vpc_id
  subnet_ids         = var.bridge.subnet_ids
  assign_public_ip   = var.bridge.assign_public_ip
  gcn_domain         = var.bridge.gcn_domain
  group_id           = var.bridge.group_id
  offset_reset       = var.bridge.offset_reset
  cpu_architecture   = var.bridge.cpu_architecture
  settings           = var.bridge.settings
  secrets            = var.bridge.secrets
  kms_key_arns       = var.bridge.kms_key_arns
  alarm_topic_arn    = var.bridge.alarm_topic_arn
  log_retention_days = var.bridge.log_retention_days
}

output "bucket" {
  description = "Bucket of notices and products."
  value       = aws_cloudformation_stack.functions.outputs["BucketName"]
}
