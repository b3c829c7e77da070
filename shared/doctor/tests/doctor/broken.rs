//! The test cases: a change that breaks the input, and the first line of each expected finding.
//!
//! `crm-service` is private. `user-service` is public and has a relay job.

mod access;
mod alerts;
mod catalogs;
mod dead_letters;
mod deployments;
mod domain;
mod grants;
mod known;
mod services;
mod settings;
mod subscriptions;
mod timers;

use serde_json::{Value, json};

pub(crate) use self::{
    catalogs::catalogs,
    deployments::deployments,
    known::{declare_canary, plans, split, states},
};

pub(crate) type Case = (fn(&mut Value), &'static [&'static str]);

/// Cases for both plans and states.
pub(crate) fn plans_and_states() -> Vec<Case> {
    [
        services::services(),
        settings::settings(),
        subscriptions::subscriptions(),
        dead_letters::dead_letters(),
        dead_letters::receipts(),
        access::access(),
        alerts::alerts(),
        domain::domain(),
        grants::grants(),
        timers::timers(),
        deployments(),
    ]
    .concat()
}

pub(crate) const CRM_SERVICE: &str = "google_cloud_run_v2_service.service[\"crm-service\"]";
const USER_SERVICE: &str = "google_cloud_run_v2_service.service[\"user-service\"]";
const CRM: &str = "google_pubsub_subscription.push[\"crm-service-user-events\"]";
const HOLDER: &str = "google_pubsub_subscription.holder[\"crm-service-dead-letter\"]";
const RELAY: &str = "google_cloud_scheduler_job.relay[\"user-service\"]";
const QUEUE: &str = "google_cloud_tasks_queue.timers[\"user-service\"]";
const ALERT: &str = "google_monitoring_alert_policy.dead_letters[0]";
const BACKLOG_ALERT: &str = "google_monitoring_alert_policy.backlog[0]";
const TTL: &str = "google_firestore_field.receipts_expire";
const INVOKE_GRANT: &str = "google_cloud_run_v2_service_iam_member.delivery[\"crm-service\"]";
const ACKNOWLEDGE_GRANT: &str =
    "google_pubsub_subscription_iam_member.agent_acknowledges[\"crm-service-user-events\"]";

/// The change that the variable `domain` makes.
pub(crate) fn put_behind_load_balancer(document: &mut Value) {
    values(document, USER_SERVICE)["ingress"] = json!("INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER");
    replace_env(document, "user-service", "TRUSTED_PROXIES", &[("TRUSTED_PROXIES", "1")]);
    let name = "staging-user-service";
    let group = json!({ "name": name, "region": "us-central1", "cloud_run": [{ "service": name }] });
    let rule = json!({ "paths": ["/users", "/users/*"], "service": format!("projects/p/global/backendServices/{name}") });
    for (kind, values) in [
        ("region_network_endpoint_group", group),
        (
            "backend_service",
            json!({ "name": name, "backend": [{ "group": format!("regions/r/networkEndpointGroups/{name}") }] }),
        ),
        (
            "url_map",
            json!({ "name": "map", "host_rule": [{ "hosts": ["api.example.com"] }], "path_matcher": [{ "path_rule": [rule] }] }),
        ),
        ("managed_ssl_certificate", json!({ "managed": [{ "domains": ["api.example.com"] }] })),
        ("target_https_proxy", json!({ "name": "proxy", "url_map": "urlMaps/map", "ssl_policy": "modern" })),
        ("global_forwarding_rule", json!({ "port_range": "443", "target": "targetHttpsProxies/proxy" })),
    ] {
        add(document, &format!("google_compute_{kind}"), values);
    }
    let check = values(document, "google_monitoring_uptime_check_config.public[\"user-service\"]");
    check["monitored_resource"][0]["labels"]["host"] = json!("api.example.com");
}

/// The resources of a plan or of a state.
fn resources(document: &mut Value) -> &mut Vec<Value> {
    let values = if document["values"].is_null() { "planned_values" } else { "values" };
    document[values]["root_module"]["resources"].as_array_mut().expect("resources")
}

fn values<'a>(document: &'a mut Value, address: &str) -> &'a mut Value {
    let resource = resources(document).iter_mut().find(|resource| resource["address"] == address);
    &mut resource.unwrap_or_else(|| panic!("{address} is missing"))["values"]
}

fn remove(document: &mut Value, address: &str) {
    resources(document).retain(|resource| resource["address"] != address);
}

fn add(document: &mut Value, kind: &str, values: Value) {
    let address = format!("{kind}.added");
    resources(document)
        .push(json!({ "address": address, "mode": "managed", "type": kind, "values": values }));
}

fn run<'a>(document: &'a mut Value, service: &str) -> &'a mut Value {
    &mut values(document, &format!("google_cloud_run_v2_service.service[\"{service}\"]"))["template"][0]
}

fn env<'a>(document: &'a mut Value, service: &str, name: &str) -> &'a mut Value {
    let variables = run(document, service)["containers"][0]["env"].as_array_mut().expect("variables");
    let variable = variables.iter_mut().find(|variable| variable["name"] == name);
    &mut variable.unwrap_or_else(|| panic!("{name} is missing"))["value"]
}

/// Removes a variable, and sets another one.
fn replace_env(document: &mut Value, service: &str, old: &str, new: &[(&str, &str)]) {
    let variables = run(document, service)["containers"][0]["env"].as_array_mut().expect("variables");
    variables.retain(|variable| variable["name"] != old);
    variables.extend(new.iter().map(|(name, value)| json!({ "name": name, "value": value })));
}

/// The first condition of an alert.
fn condition<'a>(document: &'a mut Value, address: &str) -> &'a mut Value {
    &mut values(document, address)["conditions"][0]["condition_threshold"][0]
}

/// The expressions that determine the values of a resource. Only a plan has them.
fn expressions<'a>(plan: &'a mut Value, address: &str) -> &'a mut Value {
    let resources = plan["configuration"]["root_module"]["resources"].as_array_mut().expect("resources");
    let resource = resources.iter_mut().find(|resource| resource["address"] == address);
    &mut resource.unwrap_or_else(|| panic!("{address} is missing"))["expressions"]
}

fn push(list: &mut Value, entry: Value) {
    list.as_array_mut().expect("a list").push(entry);
}
