# A budget: the billing account tells somebody when the project costs more than expected. It stops nothing.

variable "billing_account" {
  description = "The billing account of the project, such as \"012345-6789AB-CDEF01\". Default: none, and no budget. You need the role billing.costsManager on it."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null ? true : can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account must have the form \"012345-6789AB-CDEF01\"; to list them: gcloud billing accounts list."
  }
}

variable "budget" {
  description = "The amount that the project may cost in a month, in the currency of the billing account. Mails go out at 50 %, 90 % and 100 %, and when the forecast reaches 100 %."
  type        = number
  default     = 20

  validation {
    condition     = var.budget >= 1 && floor(var.budget) == var.budget
    error_message = "budget must be a whole number from 1."
  }
}

data "google_project" "own" {
  count      = var.billing_account == null ? 0 : 1
  project_id = var.project_id
}

resource "google_project_service" "budget" {
  count = var.billing_account == null ? 0 : 1

  project            = var.project_id
  service            = "billingbudgets.googleapis.com"
  disable_on_destroy = false
}

resource "google_billing_budget" "month" {
  # This API counts the calls of a person against a project that the call must name. Only this provider names it.
  provider = google-beta
  count    = var.billing_account == null ? 0 : 1

  billing_account = var.billing_account
  display_name    = "${local.prefix}functions in ${var.project_id}"

  budget_filter {
    projects = ["projects/${data.google_project.own[0].number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]
    content {
      threshold_percent = threshold_rules.value
    }
  }
  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  # The administrators of the billing account get mails in any case. A budget accepts only channels of the type email, and
  # notification_channels can have others.
  dynamic "all_updates_rule" {
    for_each = google_monitoring_notification_channel.email
    content {
      monitoring_notification_channels = [all_updates_rule.value.id]
    }
  }

  depends_on = [google_project_service.budget]
}
