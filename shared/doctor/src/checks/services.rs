//! Services: whether they exist, run the right code, and authenticate pushes.

use ::catalog::Catalog;

use super::{Finding, subscriptions::matched};
use crate::plan::{GrantTarget, Member, Plan};

pub(super) fn missing(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut require = |kind: &str, name: &str, exists: bool, consequence| {
        if !exists {
            let remedy = "deploy the current catalog: run functions catalog --write, then terraform apply";
            findings.push(Finding::new(format!("the {kind} {name} is missing"), consequence, remedy));
        }
    };
    for topic in &catalog.topics {
        let exists = plan.topic(&topic.name).is_some();
        require("topic", &topic.name, exists, "events for it pile up in receipts");
    }
    for service in &catalog.services {
        let exists = plan.service(&service.name).is_some();
        require("service", &service.name, exists, "its requests and events are not handled");
        for subscription in &service.subscriptions {
            let exists = plan.subscription(&subscription.name).is_some();
            require("subscription", &subscription.name, exists, "its service never receives the events");
        }
        if !service.subscriptions.is_empty() {
            let topic = &service.dead_letter_topic;
            let exists = plan.topic(topic).is_some();
            require("dead-letter topic", topic, exists, "rejected messages are redelivered, then lost");
        }
    }
    findings
}

pub(super) fn names_prefix(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    plan.services
        .iter()
        .filter_map(|service| {
            let (expected, actual) = (&plan.prefix, service.variable("NAMES_PREFIX").unwrap_or_default());
            (actual != expected).then(|| {
                Finding::new(
                    format!(
                        "names begin with {expected:?}, but NAMES_PREFIX of {} is {actual:?}",
                        service.name
                    ),
                    "the service publishes to topics of another deployment, or to topics that do not exist",
                    format!("set NAMES_PREFIX to {expected:?}, or omit it if the prefix is empty"),
                )
            })
        })
        .collect()
}

pub(super) fn wrong_code(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let deployed = catalog.services.iter().filter_map(|service| plan.service(&service.name));
    deployed
        .filter(|service| service.name.strip_prefix(&plan.prefix) != service.serves.as_deref())
        .map(|service| {
            let serves = service.serves.as_deref().unwrap_or("no service of the catalog");
            Finding::new(
                format!("{} runs {serves}", service.name),
                "the wrong code acknowledges the service's events without handling them",
                "set the container's args to [\"serve\", the service's name in the catalog]",
            )
        })
        .collect()
}

pub(super) fn request_timeout(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (entry, _, subscription) in matched(catalog, plan) {
        let Some(service) = plan.service(&entry.name) else { continue };
        let (timeout, ack_deadline) = (service.timeout_seconds, subscription.ack_deadline_seconds);
        if timeout < ack_deadline {
            findings.push(Finding::new(
                format!(
                    "the request timeout of {} ({timeout} s) is shorter \
                     than the ack deadline of {} ({ack_deadline} s)",
                    service.name, subscription.name
                ),
                "Cloud Run ends deliveries while Pub/Sub still waits for the answer",
                format!("set the timeout of {} to {}s", service.name, catalog.timing.request_timeout_seconds),
            ));
        }
    }
    findings
}

pub(super) fn push_auth(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in &catalog.services {
        let Some(service) = plan.service(&entry.name) else { continue };
        let name = &entry.name;
        let (expected, consequence) = if entry.public {
            ("oidc", "Cloud Run lets anyone call the service, so anyone could push forged events")
        } else {
            ("iam", "Cloud Run checks the token and removes its signature, so the service rejects every push")
        };
        let actual = service.variable("PUSH_AUTH").unwrap_or("not set");
        if actual != expected {
            let kind = if entry.public { "public" } else { "private" };
            findings.push(Finding::new(
                format!("{name} is {kind}, but its PUSH_AUTH is {actual}"),
                consequence,
                format!("set PUSH_AUTH to {expected}"),
            ));
        }
        if !entry.public {
            continue;
        }
        if !service.custom_audiences.is_empty() {
            findings.push(Finding::new(
                format!(
                    "{name} is public, but has the custom audience {}",
                    service.custom_audiences.join(", ")
                ),
                "Cloud Run checks such tokens and removes their signature, so the service rejects every push",
                "remove custom_audiences",
            ));
        }
        let target = GrantTarget::Service(name.clone());
        if !service.is_open && !plan.is_granted(&target, &["roles/run.invoker"], &Member::Everyone) {
            findings.push(Finding::new(
                format!("{name} is public, but allUsers may not call it"),
                "Cloud Run rejects its callers, and also its pushes, because it does not know their audience",
                "grant roles/run.invoker on it to allUsers",
            ));
        }
    }
    findings
}

pub(super) fn relay_job(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let relays = catalog.services.iter().filter(|service| service.relays);
    let relays = relays.filter(|service| plan.service(&service.name).is_some());
    relays
        .filter_map(|service| {
            let name = &service.name;
            let problem = match plan.relay_jobs(name).next() {
                None => format!("no Cloud Scheduler job calls POST /relay of {name}"),
                Some(_) if plan.relay_jobs(name).any(|job| !job.paused) => return None,
                Some(job) => format!("{}, which calls POST /relay of {name}, is paused", job.name),
            };
            Some(Finding::new(
                problem,
                "after a crash or an outage, committed events that were not published are never published",
                format!("add a google_cloud_scheduler_job that posts to /relay of {name} each minute"),
            ))
        })
        .collect()
}
