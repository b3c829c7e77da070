# Which image a service runs, and which of its revisions get the traffic. scripts/deploy sets these variables.

variable "images" {
  description = "The images of single services, by service, instead of image. scripts/deploy --only sets it, so that the other services keep theirs. A name that is no longer in the catalog has no effect."
  type        = map(string)
  default     = {}
}

variable "older_shares" {
  description = "The shares of the traffic that older revisions keep, in percent, by service and revision. The newest revision of a service gets the rest. scripts/deploy --canary and --only set it."
  type        = map(map(number))
  default     = {}

  validation {
    condition     = alltrue([for shares in values(var.older_shares) : alltrue([for percent in values(shares) : percent >= 1 && floor(percent) == percent]) && sum(concat([0], values(shares))) <= 100])
    error_message = "The values of older_shares must be whole numbers from 1 to 100, at most 100 for each service."
  }
}

locals {
  images = { for name in keys(local.services) : name => lookup(var.images, name, var.image) }

  traffic = {
    for name in keys(local.services) : name => concat(
      [for revision, percent in lookup(var.older_shares, name, {}) : { revision = revision, percent = percent }],
      [for rest in [100 - sum(concat([0], values(lookup(var.older_shares, name, {}))))] : { revision = null, percent = rest } if rest > 0],
    )
  }
}

# From the services and not from the variables: a plan of a part must not change it.
output "images" {
  description = "The image of each service, for scripts/deploy."
  value       = { for name, service in google_cloud_run_v2_service.service : name => service.template[0].containers[0].image }
}
