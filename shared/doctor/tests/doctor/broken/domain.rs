//! Load balancers that do not reach the public services.

use serde_json::{Value, json};

use super::{Case, put_behind_load_balancer, remove, replace_env, values};

fn path_rule(input: &mut Value) -> &mut Value {
    &mut values(input, "google_compute_url_map.added")["path_matcher"][0]["path_rule"][0]
}

pub(crate) fn domain() -> Vec<Case> {
    vec![
        (
            |input| {
                put_behind_load_balancer(input);
                remove(input, "google_compute_backend_service.added");
            },
            &["domain: no backend of the load balancer calls staging-user-service in its region"],
        ),
        (
            |input| {
                put_behind_load_balancer(input);
                values(input, "google_compute_region_network_endpoint_group.added")["region"] =
                    json!("europe-west1");
            },
            &["domain: no backend of the load balancer calls staging-user-service in its region"],
        ),
        (
            |input| {
                put_behind_load_balancer(input);
                path_rule(input)["paths"] = json!(["/users"]);
            },
            &["domain: the load balancer does not forward /users to staging-user-service"],
        ),
        (
            |input| {
                put_behind_load_balancer(input);
                path_rule(input)["service"] = json!("backendServices/another");
            },
            &["domain: the load balancer does not forward /users to staging-user-service"],
        ),
        (
            |input| {
                put_behind_load_balancer(input);
                remove(input, "google_compute_target_https_proxy.added");
            },
            &["domain: no address with HTTPS leads to the URL map map"],
        ),
        (
            |input| {
                put_behind_load_balancer(input);
                values(input, "google_compute_global_forwarding_rule.added")["port_range"] = json!("8443");
            },
            &["domain: no address with HTTPS leads to the URL map map"],
        ),
        (
            |input| {
                put_behind_load_balancer(input);
                values(input, "google_compute_managed_ssl_certificate.added")["managed"][0]["domains"] =
                    json!(["example.com"]);
            },
            &["domain: warning: no managed certificate is for api.example.com"],
        ),
        (
            |input| replace_env(input, "user-service", "TRUSTED_PROXIES", &[("TRUSTED_PROXIES", "1")]),
            &[
                "proxies: staging-user-service accepts calls past any load balancer, but its TRUSTED_PROXIES is 1",
            ],
        ),
        (
            |input| {
                put_behind_load_balancer(input);
                replace_env(input, "user-service", "TRUSTED_PROXIES", &[]);
            },
            &["proxies: staging-user-service is behind a load balancer, but its TRUSTED_PROXIES is 0"],
        ),
        (
            |input| {
                put_behind_load_balancer(input);
                replace_env(input, "user-service", "TRUSTED_PROXIES", &[("TRUSTED_PROXIES", "2")]);
            },
            &[
                "proxies: warning: staging-user-service is behind one load balancer, but its TRUSTED_PROXIES is 2",
            ],
        ),
    ]
}
