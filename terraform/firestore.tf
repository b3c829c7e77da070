resource "google_firestore_database" "documents" {
  project     = var.project_id
  name        = local.database
  location_id = coalesce(var.firestore_location, var.region)
  type        = "FIRESTORE_NATIVE"

  # With protection, Google refuses to delete the database, and `terraform destroy` keeps it.
  delete_protection_state = var.protect_data ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy         = var.protect_data ? "ABANDON" : "DELETE"

  # backups.tf has the variable.
  point_in_time_recovery_enablement = var.point_in_time_recovery ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"

  # A database cannot move. Without this, another location in the variables would create a new, empty database.
  lifecycle {
    ignore_changes = [location_id]
  }

  depends_on = [google_project_service.api]
}

# Firestore deletes receipts after their expiry. The expiry is not indexed: no query uses it, and an index
# on a value that only grows would send all writes to one place and limit the throughput of the system.
resource "google_firestore_field" "receipts_expire" {
  project    = var.project_id
  database   = google_firestore_database.documents.name
  collection = local.receipts.collection
  field      = local.receipts.ttlField

  ttl_config {}
  index_config {}

  # Firestore makes one such change per database at a time, so the last of them waits for all others.
  timeouts {
    create = "60m"
    update = "60m"
    delete = "60m"
  }
}

# Some documents expire, too, such as ended sessions.
resource "google_firestore_field" "documents_expire" {
  for_each = toset(flatten([for service in local.services : try(service.expires, [])]))

  project    = var.project_id
  database   = google_firestore_database.documents.name
  collection = each.key
  field      = local.receipts.ttlField

  ttl_config {}
  index_config {}

  timeouts {
    create = "60m"
    update = "60m"
    delete = "60m"
  }
}

# No query uses the other fields of receipts either. Without their indexes, a commit is cheaper and faster.
resource "google_firestore_field" "receipts_unindexed" {
  for_each = setsubtract(local.receipts.unindexed, [local.receipts.ttlField])

  project    = var.project_id
  database   = google_firestore_database.documents.name
  collection = local.receipts.collection
  field      = each.key

  index_config {}

  timeouts {
    create = "60m"
    update = "60m"
    delete = "60m"
  }
}

resource "google_firestore_index" "query" {
  for_each = local.indexes

  project     = var.project_id
  database    = google_firestore_database.documents.name
  collection  = each.value.collection
  query_scope = "COLLECTION"

  dynamic "fields" {
    for_each = each.value.fields
    content {
      field_path = fields.value
      order      = "ASCENDING"
    }
  }

  timeouts {
    create = "60m"
    delete = "60m"
  }
}
