variable "project_id" {
  description = "The Google Cloud project to deploy to. It must exist and have billing."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be the id of a project, not its name or number: 6 to 30 lower-case letters, digits and hyphens, such as \"my-project-123\"."
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
  description = "The image of all services, preferably by digest: LOCATION-docker.pkg.dev/PROJECT/functions/functions@sha256:…"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+(:[0-9]+)?/[^\\s]+$", var.image))
    error_message = "image must be a full image reference with its registry, such as \"us-central1-docker.pkg.dev/my-project/functions/functions:1\"; scripts/deploy builds one."
  }
}

variable "systems" {
  description = "The systems of the catalog to deploy, such as [\"signup\"]. Default: all systems."
  type        = set(string)
  default     = null

  validation {
    condition     = var.systems == null ? true : length(var.systems) > 0
    error_message = "systems must name at least one system. Omit it to deploy all systems."
  }
  validation {
    condition     = var.systems == null ? true : length(setsubtract(var.systems, local.catalog.services[*].system)) == 0
    error_message = "systems may name only systems of the catalog: ${join(", ", sort(distinct(local.catalog.services[*].system)))}."
  }
}

variable "names_prefix" {
  description = "A prefix for every name, such as \"staging-\". It lets two copies share a project. A copy with a prefix has its own Firestore database, which has no free quota. A copy of all systems has two service accounts for each service and one for builds, 37 in all, and a project may have 100 unless Google raises its quota: https://cloud.google.com/iam/quotas."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z][a-z0-9-]{0,8}-)?$", var.names_prefix)) && !startswith(var.names_prefix, "goog")
    error_message = "names_prefix must be empty, or at most 10 lower-case letters, digits and hyphens. It must start with a letter, but not with \"goog\", and end with a hyphen, such as \"staging-\"."
  }
  # Google would refuse the second of two services with one name, in the middle of the deployment.
  validation {
    condition = alltrue([
      for names in setproduct(local.catalog.services[*].name, local.catalog.services[*].name) :
      !endswith(names[0], "-${names[1]}") || !endswith("-${var.names_prefix}", "-${trimsuffix(names[0], names[1])}")
    ])
    error_message = "names_prefix must not make the name of one service into that of another, as \"ticket-\" makes order-service into ticket-order-service."
  }
}

variable "labels" {
  description = "Labels for all resources that support labels."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "labels must consist of lower-case letters, digits, _ and -, at most 63 characters each. A key must start with a letter."
  }
}

variable "environment" {
  description = "Additional environment variables, by service: { email-service = { MAIL_FROM = \"Us <us@example.com>\" } }."
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
        ["PORT", "GOOGLE_CLOUD_PROJECT", "FIRESTORE_DATABASE", "NAMES_PREFIX", "PUSH_AUTH", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT", "MAIL", "PAYMENTS", "TIMER_QUEUE", "TIMER_SERVICE_ACCOUNT", "AUTH_ISSUER", "TRUSTED_PROXIES"],
        flatten(local.catalog.services[*].secrets)[*].env,
      ),
    )) == 0
    error_message = "environment must not contain variables that this configuration sets (PORT, GOOGLE_CLOUD_PROJECT, FIRESTORE_DATABASE, NAMES_PREFIX, PUSH_*, MAIL, PAYMENTS, TIMER_*, AUTH_ISSUER, TRUSTED_PROXIES). Put secrets into the variable secrets."
  }
}

variable "operators" {
  description = "The people who may call the routes of private services, and repair dead letters, such as [\"group:shop@example.com\"]. Default: nobody. To see the verdict of a replay, they may read all documents. With operators, private services with routes accept calls from the internet, with a token."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for operator in var.operators : can(regex("^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$", operator))])
    error_message = "operators must have the form \"user:ada@example.com\", \"group:…\" or \"serviceAccount:…\". Services cannot be opened to everyone here."
  }
}

variable "secrets" {
  description = "The values of secrets, by their names in the catalog: { stripe-secret-key = \"sk_…\" }. They go to Secret Manager and not into the state. A value that is left out later stays in Secret Manager."
  type        = map(string)
  default     = {}
  sensitive   = true

  validation {
    condition     = length(setsubtract(nonsensitive(keys(var.secrets)), flatten(local.catalog.services[*].secrets)[*].secret)) == 0
    error_message = "secrets may name only secrets of the catalog: ${join(", ", sort(distinct(flatten(local.catalog.services[*].secrets)[*].secret)))}."
  }
  validation {
    condition     = alltrue([for value in values(var.secrets) : value != ""])
    error_message = "The value of a secret must not be empty. Omit secrets that have no value."
  }
}

variable "new_keys" {
  description = "A new pair of keys for sign-in: { auth-signing-key = \"…\", auth-jwks = \"…\" }. scripts/deploy sets it at the first deployment."
  type        = map(string)
  default     = {}
  sensitive   = true

  validation {
    condition     = contains([0, 2], length(setintersection(nonsensitive(keys(var.new_keys)), ["auth-jwks", "auth-signing-key"]))) && length(var.new_keys) <= 2
    error_message = "new_keys must contain auth-jwks and auth-signing-key of one pair, and nothing else."
  }
}

variable "secrets_present" {
  description = "The names of secrets that already have a value in Secret Manager. The services use these values."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.secrets_present, flatten(local.catalog.services[*].secrets)[*].secret)) == 0
    error_message = "secrets_present may name only secrets of the catalog: ${join(", ", sort(distinct(flatten(local.catalog.services[*].secrets)[*].secret)))}."
  }
}

variable "mail" {
  description = "\"local\" stores mails in the database instead of sending them. Default: mails are sent, which needs the secret mail-url."
  type        = string
  default     = null

  validation {
    condition     = var.mail == null ? true : var.mail == "local"
    error_message = "mail must be \"local\", or omitted to send mails."
  }
}

variable "payments" {
  description = "\"local\" uses a local payment gateway that moves no money. Default: Stripe, which needs the secret stripe-secret-key."
  type        = string
  default     = null

  validation {
    condition     = var.payments == null ? true : var.payments == "local"
    error_message = "payments must be \"local\", or omitted for Stripe."
  }
}

variable "firestore_location" {
  description = "The location of the database, such as \"eur3\" or \"nam5\". Default: the region. It cannot be changed later."
  type        = string
  default     = null
}

variable "protect_data" {
  description = "Whether to protect the database: Firestore refuses to delete it, and terraform destroy keeps it."
  type        = bool
  default     = true
}

variable "storage_regions" {
  description = "The regions where Pub/Sub may store messages. Default: Google chooses. Once set, it can change, but not become empty: Pub/Sub would keep the regions of its topics."
  type        = set(string)
  default     = []
}

variable "concurrency" {
  description = "The number of requests that an instance serves at the same time."
  type        = number
  default     = 80

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000 && floor(var.concurrency) == var.concurrency
    error_message = "concurrency must be a whole number from 1 to 1000."
  }
}

variable "min_instances" {
  description = "The minimum number of instances, by service: { user-service = 1 }. Default: none, because idle instances cost money."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.min_instances), local.catalog.services[*].name)) == 0
    error_message = "min_instances may name only services of the catalog: ${join(", ", sort(local.catalog.services[*].name))}."
  }
  validation {
    condition     = alltrue([for count in values(var.min_instances) : count >= 0 && count <= var.max_instances && floor(count) == count])
    error_message = "The values of min_instances must be whole numbers from 0 to max_instances."
  }
}

variable "max_instances" {
  description = "The maximum number of instances of each service. It limits the cost, and the load on the APIs that a service calls."
  type        = number
  default     = 10

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 1000 && floor(var.max_instances) == var.max_instances
    error_message = "max_instances must be a whole number from 1 to 1000."
  }
}

variable "cpu" {
  description = "The CPUs of an instance. With less than one CPU, an instance could serve only one request at a time."
  type        = string
  default     = "1"

  validation {
    condition     = contains(["1", "2", "4", "6", "8"], var.cpu)
    error_message = "cpu must be \"1\", \"2\", \"4\", \"6\" or \"8\"."
  }
}

variable "memory" {
  description = "The memory of an instance."
  type        = string
  default     = "512Mi"

  validation {
    condition     = can(regex("^[1-9][0-9]*(Mi|Gi)$", var.memory))
    error_message = "memory must be a whole number with the unit Mi or Gi, such as \"512Mi\"."
  }
  # https://cloud.google.com/run/docs/configuring/services/memory-limits
  validation {
    condition = (
      try(tonumber(regex("^[0-9]+", var.memory)), 0) * (endswith(var.memory, "Gi") ? 1024 : 1)
      >= lookup({ "4" = 2048, "6" = 4096, "8" = 4096 }, var.cpu, 0)
    )
    error_message = "Cloud Run needs at least 2Gi of memory for cpu = \"4\", and 4Gi for \"6\" and \"8\"."
  }
  validation {
    condition = (
      try(tonumber(regex("^[0-9]+", var.memory)), 0) * (endswith(var.memory, "Gi") ? 1024 : 1)
      <= lookup({ "1" = 4096, "2" = 8192, "4" = 16384, "6" = 24576 }, var.cpu, 32768)
    )
    error_message = "Cloud Run allows at most 4Gi of memory for cpu = \"1\", 8Gi for \"2\", 16Gi for \"4\", 24Gi for \"6\" and 32Gi for \"8\"."
  }
}

variable "notification_email" {
  description = "The e-mail address for alerts. Without it and without notification_channels, alerts show only in the console."
  type        = string
  default     = null

  validation {
    condition     = var.notification_email == null ? true : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.notification_email))
    error_message = "notification_email must be an e-mail address."
  }
}

variable "notification_channels" {
  description = "The ids of existing notification channels that also get the alerts: projects/PROJECT/notificationChannels/ID."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", id))])
    error_message = "notification_channels must have the form \"projects/PROJECT/notificationChannels/ID\"."
  }
}

variable "backlog_alert_seconds" {
  description = "An alert fires when the oldest message of a subscription has waited for this many seconds."
  type        = number
  default     = 900

  validation {
    condition     = var.backlog_alert_seconds >= 60
    error_message = "backlog_alert_seconds must be at least 60, the resolution of the metric."
  }
}

variable "error_alert_share" {
  description = "An alert fires when more than this share of a service's requests fails with 5xx for five minutes."
  type        = number
  default     = 0.1

  validation {
    condition     = var.error_alert_share > 0 && var.error_alert_share < 1
    error_message = "error_alert_share must be between 0 and 1, such as 0.1."
  }
}

variable "catalog_file" {
  description = "The file name of the catalog, relative to this folder. Only tests change it."
  type        = string
  default     = "catalog.json"
}
