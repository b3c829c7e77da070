//! Timers: the queues of Cloud Tasks that hold them, and who may use them.

use ::catalog::Catalog;

use super::{Finding, alerts::conditions};
use crate::plan::{CloudRunService, GrantTarget, Member, Plan, Queue, UNKNOWN};

/// The number of attempts to run tasks, by answer.
const ATTEMPTS: &str = "queue/task_attempt_count";

/// Each deployed service that publishes events at a later time, with its queue.
fn delaying<'a>(
    catalog: &'a Catalog,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a CloudRunService, Option<&'a Queue>)> {
    let entries = catalog.services.iter().filter(|entry| entry.timer_queue.is_some());
    let services = entries.filter_map(|entry| plan.service(&entry.name));
    services.map(|service| (service, plan.queue(service)))
}

pub(super) fn queues(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, queue) in delaying(catalog, plan) {
        let Some(queue) = queue else {
            findings.push(Finding::new(
                format!("{} has no queue for its timers", service.name),
                "it answers 503 until the message becomes a dead letter, and sets no timer",
                "add a google_cloud_tasks_queue, and name it in TIMER_QUEUE",
            ));
            continue;
        };
        if queue.is_paused {
            findings.push(Finding::new(
                format!("the queue of {} is paused", service.name),
                "no timer fires, and after 31 days Cloud Tasks deletes it",
                "resume it: gcloud tasks queues resume",
            ));
        }
        if queue.gives_up {
            findings.push(Finding::new(
                format!("the queue of {} deletes timers that fail", service.name),
                "an outage of Pub/Sub or a missing grant loses timers, and nobody hears of it",
                "set max_attempts = -1 and max_retry_duration = \"0s\" in its retry_config",
            ));
        }
    }
    findings
}

pub(super) fn alerts(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    delaying(catalog, plan)
        .filter_map(|(service, queue)| Some((service, queue?)))
        // A first plan knows neither the names of queues nor the filters with them.
        .filter(|(_, queue)| !queue.name.starts_with("google_"))
        .filter(|(_, queue)| {
            !conditions(plan).any(|condition| condition.watches_queue(ATTEMPTS, &queue.name))
        })
        .map(|(service, _)| {
            Finding::new(
                format!("no alert watches the queue of {}", service.name),
                "timers that cannot publish their events are lost after 31 days, and nobody hears of it",
                format!("add it to the filter of an enabled google_monitoring_alert_policy for {ATTEMPTS}"),
            )
        })
        .collect()
}

pub(super) fn grants(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, queue) in delaying(catalog, plan) {
        let (Some(queue), Some(account)) = (queue, &service.account) else { continue };
        let member = Member::Account(account.clone());
        let name = &service.name;
        let on_queue = GrantTarget::Queue(queue.name.clone());
        let is_granted = |role| plan.is_granted(&on_queue, &[role, "roles/cloudtasks.admin"], &member);
        if !is_granted("roles/cloudtasks.enqueuer") {
            findings.push(Finding::new(
                format!("{name} may not set timers in its queue"),
                "it answers 503 until the message becomes a dead letter, and sets no timer",
                format!("grant roles/cloudtasks.enqueuer on the queue to {account}"),
            ));
        }
        if !is_granted("roles/cloudtasks.taskDeleter") {
            findings.push(Finding::warning(
                format!("{name} may not cancel timers in its queue"),
                "timers that nobody needs any more fire, and their handlers change nothing",
                format!("grant roles/cloudtasks.taskDeleter on the queue to {account}"),
            ));
        }
        // The account as which the tasks publish. In a plan it can be unknown.
        let publishes_as = service.variable("TIMER_SERVICE_ACCOUNT").filter(|account| !account.is_empty());
        if publishes_as.is_some_and(|other| other != account) {
            findings.push(Finding::new(
                format!("the timers of {name} publish as {}", publishes_as.unwrap_or(UNKNOWN)),
                "they fail, or can do what the service cannot",
                format!("set TIMER_SERVICE_ACCOUNT to {account}, the service's own account"),
            ));
        } else if !plan.is_granted(
            &GrantTarget::Account(account.clone()),
            &["roles/iam.serviceAccountUser"],
            &member,
        ) {
            findings.push(Finding::new(
                format!("{name} may not act as its own account, as which its timers publish"),
                "Cloud Tasks refuses every timer",
                format!("grant roles/iam.serviceAccountUser on {account} to itself"),
            ));
        }
    }
    findings
}
