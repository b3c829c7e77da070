# Reads the catalog. All other files loop over these maps, so a new service, topic or subscription
# changes only the catalog. The keys of the maps are the names in the catalog, so a new or removed entry
# does not change the others.

locals {
  catalog = jsondecode(file("${path.module}/${var.catalog_file}"))

  timing   = local.catalog.timing
  delivery = local.catalog.delivery
  receipts = local.catalog.receipts

  services = {
    for service in local.catalog.services : service.name => service
    if var.systems == null ? true : contains(var.systems, service.system)
  }

  systems = toset([for service in local.services : service.system])

  # Only topics that a deployed service publishes to or subscribes to.
  topics = {
    for topic in local.catalog.topics : topic.name => topic
    if anytrue([
      for service in local.services :
      contains(service.publishesTo, topic.name) || contains(service.subscriptions[*].topic, topic.name)
    ])
  }

  subscriptions = merge([
    for service in local.services : {
      for subscription in service.subscriptions : subscription.name => merge(subscription, { service = service.name })
    }
  ]...)

  # A service's subscriptions share its dead-letter topic.
  dead_letters = {
    for topic, services in { for subscription in local.subscriptions : subscription.deadLetterTopic => subscription.service... } :
    topic => services[0]
  }

  publishers = merge([
    for service in local.services : {
      for topic in service.publishesTo : "${service.name}/${topic}" => { service = service.name, topic = topic }
    }
  ]...)

  relays = { for name, service in local.services : name => service if service.relays }

  secret_uses = merge([
    for service in local.services : {
      for use in service.secrets : "${service.name}/${use.env}" => { service = service.name, env = use.env, secret = use.secret }
    }
  ]...)

  # Firestore indexes single fields automatically, and refuses a composite index of one field.
  indexes = merge([
    for service in local.services : {
      for index in service.indexes : "${index.collection}/${join(",", index.fields)}" => index if length(index.fields) > 1
    }
  ]...)
}

# Names
locals {
  prefix = var.names_prefix
  labels = merge({ app = "${local.prefix}functions" }, var.labels)

  # Only one database per project has the free quota of Firestore, so the copy without a prefix uses the
  # default database. A copy with a prefix has its own database; otherwise copies would share documents.
  database = local.prefix == "" ? "(default)" : "${local.prefix}data"

  # An account id has 6 to 30 characters. A name that does not fit is cut, and a hash makes it unique.
  account_ids = {
    for name in flatten([for service in keys(local.services) : [service, "${service}-push"]]) : name => (
      length("${local.prefix}${name}") >= 6 && length("${local.prefix}${name}") <= 30
      ? "${local.prefix}${name}"
      : "${substr("${local.prefix}${name}", 0, min(23, length("${local.prefix}${name}")))}-${substr(sha1(name), 0, 6)}"
    )
  }
}

# The rules for a catalog. The runtime checks the same rules when it starts. Here they stop the plan.
resource "terraform_data" "catalog" {
  lifecycle {
    precondition {
      condition = (
        local.timing.handlerSeconds < local.timing.leaseSeconds
        && local.timing.leaseSeconds < local.timing.ackDeadlineSeconds
        && local.timing.ackDeadlineSeconds <= local.timing.requestTimeoutSeconds
      )
      error_message = "${var.catalog_file}: the timing must obey handler < lease < ack deadline <= request timeout. Otherwise a redelivery starts an effect that is still running."
    }
    precondition {
      condition     = local.receipts.keepSeconds >= 2 * local.delivery.retentionSeconds + local.delivery.deadLetterRetentionSeconds
      error_message = "${var.catalog_file}: keepSeconds must be at least 2 x retentionSeconds + deadLetterRetentionSeconds. A message can come back for that long: from its subscription, then from the dead letters, then replayed from the topic. Without its receipt, a late delivery would count as new."
    }
    precondition {
      condition     = alltrue([for topic, services in { for subscription in local.subscriptions : subscription.deadLetterTopic => subscription.service... } : length(distinct(services)) == 1])
      error_message = "${var.catalog_file}: two services share a dead-letter topic, so they could not tell their dead letters apart."
    }
  }
}
