//! Timers: the queues of Cloud Tasks, and the grants of the services that set timers.

use ::catalog::{Catalog, ServiceEntry};

use super::{Finding, grants::ACT_AS};
use crate::plan::{CloudRunService, GrantTarget, Member, Plan, Queue, UNKNOWN};

const ENQUEUE: &[&str] = &["roles/cloudtasks.enqueuer", "roles/cloudtasks.admin"];
const DELETE: &[&str] = &["roles/cloudtasks.taskDeleter", "roles/cloudtasks.admin"];
/// In tasks a second. A slower queue needs minutes for the timers of a single sale.
const LOWEST_RATE: f64 = 10.0;

/// Each deployed service that sets timers, with the name in the catalog of its queue, and the queue.
fn timed<'a>(
    catalog: &'a Catalog,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a CloudRunService, &'a str, Option<&'a Queue>)> {
    let of_service = |entry: &'a ServiceEntry| {
        Some((plan.service(&entry.name)?, entry.timer_queue.as_deref()?, plan.queue(entry)))
    };
    catalog.services.iter().filter_map(of_service)
}

pub(super) fn queues(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, name, queue) in timed(catalog, plan) {
        let Some(queue) = queue else {
            findings.push(Finding::new(
                format!("the queue {name} of {} is missing", service.name),
                "the service cannot set a timer, so every event that sets one becomes a dead letter",
                "deploy the current catalog: run functions catalog --write, then terraform apply",
            ));
            continue;
        };
        let name = &queue.name;
        if queue.is_paused {
            findings.push(Finding::new(
                format!("the queue {name} is paused"),
                "its events are published only after somebody resumes it, and tasks are lost after 31 days",
                "remove desired_state = \"PAUSED\"",
            ));
        }
        let limit = match queue {
            Queue { max_attempts, .. } if *max_attempts != -1 => Some(format!("{max_attempts} attempts")),
            Queue { max_retry_seconds, .. } if *max_retry_seconds > 0 => {
                Some(format!("{max_retry_seconds} s"))
            }
            _ => None,
        };
        if let Some(limit) = limit {
            findings.push(Finding::new(
                format!("the queue {name} gives a task up after {limit}"),
                "Cloud Tasks deletes the task, and its event is never published",
                "set max_attempts to -1 and max_retry_duration to 0s: then a task is tried for 31 days",
            ));
        }
        if let Some(rate) = queue.tasks_per_second.filter(|rate| *rate < LOWEST_RATE) {
            findings.push(Finding::new(
                format!("the queue {name} starts only {rate} tasks a second"),
                "when many timers are due, their events are published late",
                "remove rate_limits: the default is 500 tasks a second",
            ));
        }
        if queue.overrides_tasks {
            findings.push(Finding::new(
                format!("the queue {name} overrides the requests of its tasks"),
                "the tasks no longer publish their events to Pub/Sub as the service has written them",
                "remove http_target",
            ));
        }
        // A plan does not know the full name of a new queue. The variable is empty then.
        let used = service.variable("TIMER_QUEUE");
        let is_used = used.is_some_and(|used| used.is_empty() || used.rsplit('/').next() == Some(name));
        if !is_used {
            findings.push(Finding::new(
                format!("TIMER_QUEUE of {} is {}, not {name}", service.name, used.unwrap_or("not set")),
                "the service does not start, or sets its timers in a queue that it may not use",
                "set TIMER_QUEUE to the full name of the queue",
            ));
        }
    }
    findings
}

pub(super) fn grants(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, _, queue) in timed(catalog, plan) {
        let name = &service.name;
        let account = service.account.as_deref().unwrap_or(UNKNOWN);
        let member = Member::Account(account.to_owned());
        if let Some(queue) = queue {
            let target = GrantTarget::Queue(queue.name.clone());
            if !plan.is_granted(&target, ENQUEUE, &member) {
                findings.push(Finding::new(
                    format!("{name} may not add tasks to {}", queue.name),
                    "every event that sets a timer is retried until the message becomes a dead letter",
                    format!("grant roles/cloudtasks.enqueuer on {} to {account}", queue.name),
                ));
            }
            if !plan.is_granted(&target, DELETE, &member) {
                findings.push(Finding::new(
                    format!("{name} may not delete tasks of {}", queue.name),
                    "every event that cancels a timer is retried until the message becomes a dead letter",
                    format!("grant roles/cloudtasks.taskDeleter on {} to {account}", queue.name),
                ));
            }
        }
        let Some(used) = service.variable("TIMER_SERVICE_ACCOUNT") else {
            findings.push(Finding::new(
                format!("{name} has no TIMER_SERVICE_ACCOUNT"),
                "it does not start",
                format!("set TIMER_SERVICE_ACCOUNT to {account}"),
            ));
            continue;
        };
        if !plan.is_granted(&GrantTarget::Account(used.to_owned()), ACT_AS, &member) {
            findings.push(Finding::new(
                format!("{name} may not act as {used}, the account of its tasks"),
                "Cloud Tasks refuses every task, and the messages become dead letters",
                format!("grant roles/iam.serviceAccountUser on {used} to {account}"),
            ));
        }
    }
    findings
}
