# An optional domain of your own: a load balancer in front of the public services. At run.app, these services then accept
# only the calls of Pub/Sub and Cloud Scheduler.

variable "domain" {
  description = "A domain for the public services, such as \"api.example.com\". Default: none, and no load balancer, which costs about 18 dollars a month. Point its A record to the output domain_address."
  type        = string
  default     = null

  validation {
    condition     = var.domain == null ? true : can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain)) && length(var.domain) <= 63
    error_message = "domain must be a domain name in lower case of at most 63 characters, such as \"api.example.com\", without https:// and path."
  }
}

locals {
  domain_services = { for name, service in local.public_services : name => service if var.domain != null }

  # The load balancer forwards the first segment of each route: /users and /users/… go to user-service.
  domain_segments = { for name, service in local.domain_services : name => distinct([for route in try(service.routes, []) : split("/", split(" ", route)[1])[1]]) }
}

# The rule for the routes. Here it stops the plan; later, one service would get the requests of another.
resource "terraform_data" "domain" {
  lifecycle {
    precondition {
      condition     = length(distinct(flatten(values(local.domain_segments)))) == length(flatten(values(local.domain_segments)))
      error_message = "Two public services have routes with the same first segment, so one domain cannot serve both: ${join("; ", [for name, segments in local.domain_segments : "${name} has /${join(", /", segments)}"])}. Deploy their systems as two copies (names_prefix), each with a domain."
    }
    precondition {
      condition     = var.domain == null || length(local.domain_services) > 0
      error_message = "domain needs a public service, and the deployed systems have none."
    }
  }
}

resource "google_project_service" "compute" {
  count = var.domain == null ? 0 : 1

  project            = var.project_id
  service            = "compute.googleapis.com"
  disable_on_destroy = false
}

resource "google_compute_global_address" "domain" {
  count = var.domain == null ? 0 : 1

  project = var.project_id
  name    = "${local.prefix}functions"

  depends_on = [google_project_service.compute]
}

resource "google_compute_region_network_endpoint_group" "public" {
  for_each = local.domain_services

  project               = var.project_id
  region                = var.region
  name                  = "${local.prefix}${each.key}"
  network_endpoint_type = "SERVERLESS"

  # The name as text, not as a reference: create_before_destroy would spread to the service, and a replaced service would
  # be created while its name is taken.
  cloud_run {
    service = "${local.prefix}${each.key}"
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.compute]
}

resource "google_compute_backend_service" "public" {
  for_each = local.domain_services

  project               = var.project_id
  name                  = "${local.prefix}${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"

  backend {
    group = google_compute_region_network_endpoint_group.public[each.key].id
  }

  # Google deletes no backend that a URL map uses. With this, Terraform deletes the backend of a removed service after it
  # has changed the URL map.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_url_map" "domain" {
  count = var.domain == null ? 0 : 1

  project = var.project_id
  name    = "${local.prefix}functions"

  # A path that no service has: any of them answers 404.
  default_service = google_compute_backend_service.public[sort(keys(local.domain_services))[0]].id

  host_rule {
    hosts        = [var.domain]
    path_matcher = "routes"
  }

  path_matcher {
    name            = "routes"
    default_service = google_compute_backend_service.public[sort(keys(local.domain_services))[0]].id

    dynamic "path_rule" {
      for_each = local.domain_segments
      content {
        paths   = flatten([for segment in path_rule.value : ["/${segment}", "/${segment}/*"]])
        service = google_compute_backend_service.public[path_rule.key].id
      }
    }
  }
}

# Google renews it. It becomes active when the domain points to the address.
resource "google_compute_managed_ssl_certificate" "domain" {
  count = var.domain == null ? 0 : 1

  project = var.project_id
  # A certificate cannot change. With the domain in its name, a new one exists before the old one is deleted.
  name = "${local.prefix}functions-${substr(sha1(var.domain), 0, 8)}"

  managed {
    domains = [var.domain]
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.compute]
}

resource "google_compute_ssl_policy" "domain" {
  count = var.domain == null ? 0 : 1

  project         = var.project_id
  name            = "${local.prefix}functions"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.compute]
}

resource "google_compute_target_https_proxy" "domain" {
  count = var.domain == null ? 0 : 1

  project          = var.project_id
  name             = "${local.prefix}functions"
  url_map          = google_compute_url_map.domain[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.domain[0].id]
  ssl_policy       = google_compute_ssl_policy.domain[0].id
}

resource "google_compute_global_forwarding_rule" "https" {
  count = var.domain == null ? 0 : 1

  project               = var.project_id
  name                  = "${local.prefix}functions"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.domain[0].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.domain[0].id

  # Without the domain, the services answer at run.app before their load balancer goes. If one of them cannot be changed,
  # the load balancer stays.
  lifecycle {
    create_before_destroy = true
  }
}

# Plain HTTP is redirected.
resource "google_compute_url_map" "redirect" {
  count = var.domain == null ? 0 : 1

  project = var.project_id
  name    = "${local.prefix}functions-http"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "PERMANENT_REDIRECT"
    strip_query            = false
  }

  depends_on = [google_project_service.compute]
}

resource "google_compute_target_http_proxy" "redirect" {
  count = var.domain == null ? 0 : 1

  project = var.project_id
  name    = "${local.prefix}functions"
  url_map = google_compute_url_map.redirect[0].id
}

resource "google_compute_global_forwarding_rule" "http" {
  count = var.domain == null ? 0 : 1

  project               = var.project_id
  name                  = "${local.prefix}functions-http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.domain[0].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.redirect[0].id
}

output "domain_address" {
  description = "The address for the A record of the domain; empty without a domain."
  value       = one(google_compute_global_address.domain[*].address)
}
