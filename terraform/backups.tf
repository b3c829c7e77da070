# Backups of the database. Point-in-time recovery restores any minute of the last seven days; firestore.tf switches it on.

variable "point_in_time_recovery" {
  description = "Whether Firestore keeps all versions of documents for seven days, so that any minute of them can be restored. Their storage costs money."
  type        = bool
  default     = false
}

variable "backup_days" {
  description = "For how many days to keep a daily backup of the database: 1 to 98. Default: none, and no backups."
  type        = number
  default     = null

  validation {
    condition     = var.backup_days == null ? true : var.backup_days >= 1 && var.backup_days <= 98 && floor(var.backup_days) == var.backup_days
    error_message = "backup_days must be a whole number from 1 to 98 (14 weeks, the maximum of Firestore)."
  }
}

resource "google_firestore_backup_schedule" "daily" {
  count = var.backup_days == null ? 0 : 1

  project   = var.project_id
  database  = google_firestore_database.documents.name
  retention = "${var.backup_days * 86400}s"

  daily_recurrence {}
}
