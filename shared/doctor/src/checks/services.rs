//! Whether the services are there, run the right code and know whom to trust.

use ::catalog::Catalog;

use super::{Finding, subscriptions::found};
use crate::plan::{Member, On, Plan};

pub(super) fn missing(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut missing = |what: &str, name: &str, is_there: bool, why| {
        if !is_there {
            let remedy = "deploy what terraform/catalog.json says: functions catalog --write, then apply";
            findings.push(Finding::new(format!("the {what} {name} is missing"), why, remedy));
        }
    };
    for topic in &catalog.topics {
        let is_there = plan.topic(&topic.name).is_some();
        missing("topic", &topic.name, is_there, "publishing to it fails, and events pile up in receipts");
    }
    for service in &catalog.services {
        let is_there = plan.service(&service.name).is_some();
        missing("service", &service.name, is_there, "nobody does its work");
        for subscription in &service.subscriptions {
            let is_there = plan.subscription(&subscription.name).is_some();
            missing("subscription", &subscription.name, is_there, "its service never hears of the events");
        }
        if !service.subscriptions.is_empty() {
            let topic = &service.dead_letter_topic;
            let is_there = plan.topic(topic).is_some();
            missing("dead-letter topic", topic, is_there, "what the service rejects comes back for ever");
        }
    }
    findings
}

pub(super) fn names_prefix(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    let differs =
        plan.services.iter().filter(|run| run.variable("NAMES_PREFIX").unwrap_or_default() != plan.prefix);
    differs
        .map(|run| {
            let (prefix, told) = (&plan.prefix, run.variable("NAMES_PREFIX").unwrap_or_default());
            Finding::new(
                format!("names here begin with {prefix:?}, but NAMES_PREFIX of {} is {told:?}", run.name),
                "it publishes to the topics of another copy, or to none",
                format!("set NAMES_PREFIX to {prefix:?}, or leave it out if that is empty"),
            )
        })
        .collect()
}

pub(super) fn wrong_code(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let expected = catalog.services.iter().filter_map(|service| plan.service(&service.name));
    expected
        .filter(|run| run.name.strip_prefix(&plan.prefix) != run.serves.as_deref())
        .map(|run| {
            let serves = run.serves.as_deref().unwrap_or("no service of the catalog");
            Finding::new(
                format!("{} runs {serves}", run.name),
                "it acknowledges events that it does not know, and its own are lost",
                "set the container's args to [\"serve\", the service's name in the catalog]",
            )
        })
        .collect()
}

pub(super) fn request_timeout(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, _, subscription) in found(catalog, plan) {
        let Some(run) = plan.service(&service.name) else { continue };
        let (timeout, ack_deadline) = (run.timeout_seconds, subscription.ack_deadline_seconds);
        if timeout < ack_deadline {
            findings.push(Finding::new(
                format!(
                    "{} cuts requests off after {timeout} s, before the ack deadline of {} ({ack_deadline} s)",
                    run.name, subscription.name
                ),
                "deliveries are cut off that Pub/Sub still waits for",
                format!("set the timeout of {} to {}s", run.name, catalog.timing.request_timeout_seconds),
            ));
        }
    }
    findings
}

pub(super) fn push_auth(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in &catalog.services {
        let Some(run) = plan.service(&service.name) else { continue };
        let name = &service.name;
        let (wanted, why) = if service.public {
            ("oidc", "Cloud Run lets everyone pass, so everyone could push forged events")
        } else {
            ("iam", "Cloud Run removes a token's signature once it has checked it, so every push is refused")
        };
        let told = run.variable("PUSH_AUTH").unwrap_or("not set");
        if told != wanted {
            let kind = if service.public { "public" } else { "private" };
            findings.push(Finding::new(
                format!("{name} is {kind}, and its PUSH_AUTH is {told}"),
                why,
                format!("set PUSH_AUTH to {wanted}"),
            ));
        }
        if !service.public {
            continue;
        }
        if !run.custom_audiences.is_empty() {
            findings.push(Finding::new(
                format!("{name} is public and has the custom audience {}", run.custom_audiences.join(", ")),
                "Cloud Run checks such tokens itself and removes their signature, so every push is refused",
                "leave custom_audiences out",
            ));
        }
        if !run.is_open
            && !plan.is_granted(&On::Service(name.clone()), &["roles/run.invoker"], &Member::Everyone)
        {
            findings.push(Finding::new(
                format!("{name} is public, but Cloud Run does not let everyone in"),
                "Cloud Run does not know the audience of its pushes either, and refuses them with its callers",
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
                "what it committed but could not publish, in a crash or an outage, is never published",
                format!("run a google_cloud_scheduler_job each minute that posts to the URL of {name}, followed by /relay"),
            ))
        })
        .collect()
}
