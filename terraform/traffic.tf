# Which image a service runs, and which of its revisions get the traffic. scripts/deploy sets these variables.

variable "images" {
  description = "The images of single services, by service, instead of image. scripts/deploy --only sets it, so that the other services keep theirs. A name that is no longer in the catalog has no effect."
  type        = map(string)
  default     = {}
}

variable "canary_percent" {
  description = "The share of the traffic that the newest revision of the services in stable_revisions gets, in percent. scripts/deploy --canary sets it."
  type        = number
  default     = 100

  validation {
    condition     = var.canary_percent >= 1 && var.canary_percent <= 100 && floor(var.canary_percent) == var.canary_percent
    error_message = "canary_percent must be a whole number from 1 to 100."
  }
}

variable "stable_revisions" {
  description = "The revisions that get the rest of the traffic, by service. scripts/deploy --canary finds them."
  type        = map(string)
  default     = {}
}

locals {
  images = { for name in keys(local.services) : name => lookup(var.images, name, var.image) }

  traffic = {
    for name in keys(local.services) : name => concat(
      [for revision in compact([lookup(var.stable_revisions, name, "")]) : { revision = revision, percent = 100 - var.canary_percent } if var.canary_percent < 100],
      [{ revision = null, percent = contains(keys(var.stable_revisions), name) ? var.canary_percent : 100 }],
    )
  }
}

# From the services and not from the variables: a plan of a part must not change it.
output "images" {
  description = "The image of each service, for scripts/deploy."
  value       = { for name, service in google_cloud_run_v2_service.service : name => service.template[0].containers[0].image }
}
