//! What is broken, and what is to be found: a change, and the first line of each finding.
//!
//! `crm-service` is private; `user-service` is public and has a relay.

mod catalogs;
mod dead_letters;
mod grants;
mod known;
mod services;
mod subscriptions;

use serde_json::{Value, json};

pub(crate) use self::{
    catalogs::catalogs,
    known::{plans, states},
};

pub(crate) type Broken = (fn(&mut Value), &'static [&'static str]);

/// What both tell.
pub(crate) fn plans_and_states() -> Vec<Broken> {
    [
        services::services(),
        subscriptions::subscriptions(),
        dead_letters::dead_letters(),
        dead_letters::receipts(),
        grants::grants(),
    ]
    .concat()
}

const CRM: &str = "google_pubsub_subscription.push[\"crm-service-user-events\"]";
const HOLDER: &str = "google_pubsub_subscription.holder[\"crm-service-dead-letter\"]";
const RELAY: &str = "google_cloud_scheduler_job.relay[\"user-service\"]";
const ALERT: &str = "google_monitoring_alert_policy.dead_letters[0]";
const TTL: &str = "google_firestore_field.receipts_expire";
const INVOKES: &str = "google_cloud_run_v2_service_iam_member.delivery[\"crm-service\"]";
const ACKNOWLEDGES: &str =
    "google_pubsub_subscription_iam_member.agent_acknowledges[\"crm-service-user-events\"]";

/// The resources of a plan or of a state.
fn resources(document: &mut Value) -> &mut Vec<Value> {
    let values = if document["values"].is_null() { "planned_values" } else { "values" };
    document[values]["root_module"]["resources"].as_array_mut().expect("resources")
}

fn values<'a>(document: &'a mut Value, address: &str) -> &'a mut Value {
    let resource = resources(document).iter_mut().find(|resource| resource["address"] == address);
    &mut resource.unwrap_or_else(|| panic!("there is no {address}"))["values"]
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
    &mut variable.unwrap_or_else(|| panic!("there is no {name}"))["value"]
}

/// What the values of a plan's resource come from.
fn expressions<'a>(plan: &'a mut Value, address: &str) -> &'a mut Value {
    let resources = plan["configuration"]["root_module"]["resources"].as_array_mut().expect("resources");
    let resource = resources.iter_mut().find(|resource| resource["address"] == address);
    &mut resource.unwrap_or_else(|| panic!("there is no {address}"))["expressions"]
}

fn push(list: &mut Value, entry: Value) {
    list.as_array_mut().expect("a list").push(entry);
}
