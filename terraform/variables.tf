variable "project_id" {
  description = "The Google Cloud project to deploy to. It must exist and have billing."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id, not its name or number: 6 to 30 lower-case letters, digits and hyphens, such as \"my-project-123\"."
  }
}

variable "region" {
  description = "The region of the services, the image and the relay jobs."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a Google Cloud region, such as \"us-central1\" or \"europe-west1\" (not a zone)."
  }
}

variable "image" {
  description = "The image that every service runs, best by digest: LOCATION-docker.pkg.dev/PROJECT/functions/functions@sha256:…"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+(:[0-9]+)?/[^\\s]+$", var.image))
    error_message = "image must be a whole image reference with its registry, such as \"us-central1-docker.pkg.dev/my-project/functions/functions:1\"; scripts/deploy builds one."
  }
}

variable "systems" {
  description = "Which systems of the catalog to deploy, such as [\"signup\"]. By default all."
  type        = set(string)
  default     = null

  validation {
    condition     = var.systems == null ? true : length(var.systems) > 0
    error_message = "systems must name at least one system, or be left out for all."
  }
  validation {
    condition     = var.systems == null ? true : length(setsubtract(var.systems, local.catalog.services[*].system)) == 0
    error_message = "systems may name only those of the catalog: ${join(", ", sort(distinct(local.catalog.services[*].system)))}."
  }
}

variable "names_prefix" {
  description = "Put before every name, such as \"staging-\", so that two copies fit in one project. A copy with a prefix has its own Firestore database, which has no free quota."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z][a-z0-9-]{0,8}-)?$", var.names_prefix)) && !startswith(var.names_prefix, "goog")
    error_message = "names_prefix must be empty, or at most 10 lower-case letters, digits and hyphens that start with a letter, not with \"goog\", and end in a hyphen, such as \"staging-\"."
  }
}

variable "labels" {
  description = "Labels for everything that takes labels."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "labels may hold lower-case letters, digits, _ and -, at most 63 each; a key starts with a letter."
  }
}

variable "environment" {
  description = "More environment variables, by service: { email-service = { MAIL_FROM = \"Us <us@example.com>\" } }."
  type        = map(map(string))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.environment), local.catalog.services[*].name)) == 0
    error_message = "environment may name only services of the catalog: ${join(", ", sort(local.catalog.services[*].name))}."
  }
  validation {
    condition = length(setintersection(
      flatten([for variables in values(var.environment) : keys(variables)]),
      concat(
        ["PORT", "GOOGLE_CLOUD_PROJECT", "FIRESTORE_DATABASE", "NAMES_PREFIX", "PUSH_AUTH", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT"],
        flatten(local.catalog.services[*].secrets)[*].env,
      ),
    )) == 0
    error_message = "environment must not hold what is set here already (PORT, GOOGLE_CLOUD_PROJECT, FIRESTORE_DATABASE, NAMES_PREFIX, PUSH_*), nor a secret: those belong into secrets."
  }
}

variable "secrets" {
  description = "Values of secrets, by the catalog's name: { stripe-secret-key = \"sk_…\" }. They go to Secret Manager and not into the state. A service runs without those that are left out."
  type        = map(string)
  default     = {}
  sensitive   = true

  validation {
    condition     = length(setsubtract(nonsensitive(keys(var.secrets)), flatten(local.catalog.services[*].secrets)[*].secret)) == 0
    error_message = "secrets may name only those of the catalog: ${join(", ", sort(distinct(flatten(local.catalog.services[*].secrets)[*].secret)))}."
  }
  validation {
    condition     = alltrue([for value in values(var.secrets) : value != ""])
    error_message = "secrets must not be empty; leave out those that you do not have."
  }
}

variable "secrets_present" {
  description = "Names of secrets whose value somebody has put into Secret Manager by other means, for the services to use."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.secrets_present, flatten(local.catalog.services[*].secrets)[*].secret)) == 0
    error_message = "secrets_present may name only those of the catalog: ${join(", ", sort(distinct(flatten(local.catalog.services[*].secrets)[*].secret)))}."
  }
}

variable "firestore_location" {
  description = "Where the documents live, such as \"eur3\" or \"nam5\". By default the region. It cannot be changed later."
  type        = string
  default     = null
}

variable "protect_data" {
  description = "Whether Firestore refuses to delete the database, and terraform destroy leaves it alone."
  type        = bool
  default     = true
}

variable "storage_regions" {
  description = "The only regions where Pub/Sub may store messages. By default Google's choice."
  type        = set(string)
  default     = []
}

variable "concurrency" {
  description = "How many requests an instance serves at once."
  type        = number
  default     = 80

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000 && floor(var.concurrency) == var.concurrency
    error_message = "concurrency must be a whole number from 1 to 1000."
  }
}

variable "min_instances" {
  description = "Instances kept warm, by service: { user-service = 1 }. They cost money while idle, so by default none."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.min_instances), local.catalog.services[*].name)) == 0
    error_message = "min_instances may name only services of the catalog: ${join(", ", sort(local.catalog.services[*].name))}."
  }
  validation {
    condition     = alltrue([for count in values(var.min_instances) : count >= 0 && count <= var.max_instances && floor(count) == count])
    error_message = "min_instances must be whole numbers from 0 to max_instances."
  }
}

variable "max_instances" {
  description = "The most instances of each service: a limit on cost and on the load on what a service calls."
  type        = number
  default     = 10

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 1000 && floor(var.max_instances) == var.max_instances
    error_message = "max_instances must be a whole number from 1 to 1000."
  }
}

variable "cpu" {
  description = "CPUs of an instance. Less than one would allow one request at a time only."
  type        = string
  default     = "1"

  validation {
    condition     = contains(["1", "2", "4", "6", "8"], var.cpu)
    error_message = "cpu must be \"1\", \"2\", \"4\", \"6\" or \"8\"."
  }
}

variable "memory" {
  description = "Memory of an instance."
  type        = string
  default     = "512Mi"

  validation {
    condition     = can(regex("^[1-9][0-9]*(Mi|Gi)$", var.memory))
    error_message = "memory must be a number of Mi or Gi, such as \"512Mi\"."
  }
}

variable "notification_email" {
  description = "Whom alerts write to. Without it, and without notification_channels, alerts only show in the console."
  type        = string
  default     = null

  validation {
    condition     = var.notification_email == null ? true : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.notification_email))
    error_message = "notification_email must be an e-mail address."
  }
}

variable "notification_channels" {
  description = "Ids of existing notification channels that alerts write to as well: projects/PROJECT/notificationChannels/ID."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", id))])
    error_message = "notification_channels must look like \"projects/PROJECT/notificationChannels/ID\"."
  }
}

variable "backlog_alert_seconds" {
  description = "Alert when the oldest message of a subscription has waited this long."
  type        = number
  default     = 900

  validation {
    condition     = var.backlog_alert_seconds >= 60
    error_message = "backlog_alert_seconds must be at least 60, the resolution of the metric."
  }
}

variable "error_alert_share" {
  description = "Alert when this share of a service's requests fails with 5xx for five minutes."
  type        = number
  default     = 0.1

  validation {
    condition     = var.error_alert_share > 0 && var.error_alert_share < 1
    error_message = "error_alert_share must be between 0 and 1, such as 0.1."
  }
}

variable "catalog_file" {
  description = "The catalog, beside this file. Tests set another one; nobody else should."
  type        = string
  default     = "catalog.json"
}
