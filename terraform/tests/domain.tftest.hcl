# The load balancer in front of the public services.

mock_provider "google" {
  source          = "./tests/mocks/google"
  override_during = plan
}

mock_provider "google-beta" {
  source          = "./tests/mocks/google-beta"
  override_during = plan
}

variables {
  project_id = "demo-project"
  image      = "us-central1-docker.pkg.dev/demo-project/functions/functions:1"
  mail       = "local"
  payments   = "local"

  secrets_present = ["auth-jwks", "auth-signing-key"]
}

run "no_load_balancer_by_default" {
  command = plan

  assert {
    condition     = length(google_compute_global_forwarding_rule.https) + length(google_compute_backend_service.public) + length(google_compute_global_address.domain) + length(google_project_service.compute) == 0
    error_message = "a load balancer exists, which costs money, or its API is enabled"
  }
  assert {
    condition     = alltrue([for service in google_cloud_run_v2_service.service : service.ingress != "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && !contains(service.template[0].containers[0].env[*].name, "TRUSTED_PROXIES")])
    error_message = "a service waits for a load balancer that does not exist"
  }
  assert {
    condition     = output.domain_address == null
    error_message = "the output names an address"
  }
}

run "a_domain_reaches_the_public_services" {
  command = plan
  variables {
    domain       = "api.example.com"
    names_prefix = "staging-"
    # The shop and ticketing both have /orders.
    systems = ["signup", "shop"]
  }

  assert {
    condition     = { for name, group in google_compute_region_network_endpoint_group.public : name => group.cloud_run[0].service } == { for name, service in local.services : name => "staging-${name}" if service.public }
    error_message = "the load balancer does not reach exactly the public services"
  }
  assert {
    condition     = alltrue([for backend in google_compute_backend_service.public : backend.load_balancing_scheme == "EXTERNAL_MANAGED"])
    error_message = "a backend belongs to another kind of load balancer"
  }
  assert {
    condition     = one(google_compute_url_map.domain[0].host_rule).hosts == toset(["api.example.com"])
    error_message = "the URL map serves another host"
  }
  assert {
    condition = toset(flatten([for rule in google_compute_url_map.domain[0].path_matcher[0].path_rule : rule.paths])) == toset(flatten([
      for service in values(local.services) : [for route in service.routes : ["/${split("/", route)[1]}", "/${split("/", route)[1]}/*"]] if service.public
    ]))
    error_message = "a public route has no path in the URL map, or a private route has one"
  }
  assert {
    condition     = google_compute_managed_ssl_certificate.domain[0].managed[0].domains == tolist(["api.example.com"])
    error_message = "the certificate is for another domain"
  }
  assert {
    condition     = google_compute_ssl_policy.domain[0].min_tls_version == "TLS_1_2"
    error_message = "the load balancer accepts old versions of TLS"
  }
  assert {
    condition     = google_compute_url_map.redirect[0].default_url_redirect[0].https_redirect && google_compute_global_forwarding_rule.http[0].port_range == "80" && google_compute_global_forwarding_rule.https[0].port_range == "443"
    error_message = "plain HTTP is not redirected"
  }
  # Nobody gets around the load balancer, and the load balancer is no caller.
  assert {
    condition = alltrue([
      for name, service in google_cloud_run_v2_service.service :
      local.services[name].public == (service.ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER")
      && local.services[name].public == contains([for variable in service.template[0].containers[0].env : "${variable.name}=${variable.value}"], "TRUSTED_PROXIES=1")
    ])
    error_message = "a public service accepts calls past the load balancer, or takes the load balancer for its caller"
  }
  assert {
    condition     = length(google_monitoring_uptime_check_config.public) > 0 && alltrue([for check in google_monitoring_uptime_check_config.public : check.monitored_resource[0].labels.host == "api.example.com"])
    error_message = "an uptime check does not call the domain"
  }
  assert {
    condition     = output.urls["user-service"] == "https://api.example.com"
    error_message = "the output names a URL that customers cannot call"
  }
  # Two copies may have a domain each.
  assert {
    condition = alltrue([
      for name in concat(
        values(google_compute_region_network_endpoint_group.public)[*].name, values(google_compute_backend_service.public)[*].name,
        google_compute_url_map.domain[*].name, google_compute_url_map.redirect[*].name, google_compute_global_address.domain[*].name,
        google_compute_managed_ssl_certificate.domain[*].name, google_compute_ssl_policy.domain[*].name,
        google_compute_target_https_proxy.domain[*].name, google_compute_target_http_proxy.redirect[*].name,
        google_compute_global_forwarding_rule.https[*].name, google_compute_global_forwarding_rule.http[*].name,
      ) : startswith(name, "staging-")
    ])
    error_message = "a name has no prefix, so two copies would share it"
  }
}

run "rejects_two_services_with_one_path" {
  command = plan
  plan_options {
    target = [terraform_data.domain]
  }
  variables {
    domain       = "api.example.com"
    catalog_file = "tests/fixtures/shared-paths.json"
  }
  expect_failures = [terraform_data.domain]
}
