# Everything: the stack of infra/template.yaml, whose functions `sam build` and `sam package` have put into S3, and the
# bridge. Copy this folder, fill in terraform.tfvars, and see infra/README.md.

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
  description = "Name of the stack, after which everything is named; give each environment its own."
  type        = string
  default     = "gwtm"
}

variable "packaged" {
  description = "The template that `sam package --output-template-file` wrote."
  type        = string
}

variable "parameters" {
  description = "Parameters of infra/template.yaml, such as ApiBase and ApiTokenSecret."
  type        = map(string)
  default     = {}
}

variable "settings" {
  description = "Any other setting of docs/settings.md that is no secret: the template's parameter Settings."
  type        = map(string)
  default     = {}
}

variable "bridge" {
  description = "Variables of the bridge, see ../variables.tf."
  type = object({
    image            = string
    gcn_secret_arn   = optional(string, "")
    vpc_id           = string
    subnet_ids       = list(string)
    gcn_domain       = optional(string, "gcn.nasa.gov")
    offset_reset     = optional(string, "latest")
    cpu_architecture = optional(string, "X86_64")
    settings         = optional(map(string), {})
    secrets          = optional(map(string), {})
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
  # The stack's name by its id, which is known once the stack is there.
  stack_name       = split("/", aws_cloudformation_stack.functions.id)[1]
  image            = var.bridge.image
  gcn_secret_arn   = var.bridge.gcn_secret_arn
  gcn_domain       = var.bridge.gcn_domain
  offset_reset     = var.bridge.offset_reset
  cpu_architecture = var.bridge.cpu_architecture
  settings         = var.bridge.settings
  secrets          = var.bridge.secrets
  vpc_id           = var.bridge.vpc_id
  subnet_ids       = var.bridge.subnet_ids
}

output "bucket" {
  description = "Where notices and products are kept."
  value       = aws_cloudformation_stack.functions.outputs["BucketName"]
}
