//! Alerts: whether somebody hears of a problem, and in time.

use ::catalog::{Catalog, ServiceEntry};

use super::{Finding, dead_letters, subscriptions::matched};
use crate::plan::{Condition, Plan};

/// The longest time that a condition may hold before its alert fires.
const LONGEST_DURATION_SECONDS: u64 = 60 * 60;

/// The number of messages in a subscription.
const MESSAGES: &str = "subscription/num_undelivered_messages";
/// The age of the oldest message in a subscription, in seconds.
const AGE: &str = "subscription/oldest_unacked_message_age";

impl Condition {
    /// Whether its filter passes these time series of the resource with this name. `label` is the resource's label that
    /// holds names; a filter without it passes all of them.
    fn watches(&self, series: &str, label: &str, name: &str) -> bool {
        self.filter.contains(series)
            && (self.filter.contains(&format!("\"{name}\"")) || !self.filter.contains(label))
    }

    fn watches_subscription(&self, metric: &str, name: &str) -> bool {
        self.watches(metric, "subscription_id", name)
    }
}

/// The conditions of the enabled alerts.
fn conditions(plan: &Plan) -> impl Iterator<Item = &Condition> {
    plan.alerts.iter().filter(|alert| alert.enabled).flat_map(|alert| &alert.conditions)
}

pub(super) fn dead_letters(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    dead_letters::topics(catalog, plan)
        .flat_map(|topic| plan.holders(topic))
        .filter(|holder| {
            !conditions(plan).any(|condition| condition.watches_subscription(MESSAGES, &holder.name))
        })
        .map(|holder| {
            Finding::new(
                format!("no alert watches {}", holder.name),
                "a customer notices the lost message, weeks later or never",
                format!("add it to the filter of an enabled google_monitoring_alert_policy for {MESSAGES}"),
            )
        })
        .collect()
}

pub(super) fn backlog(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    matched(catalog, plan)
        .map(|(_, _, actual)| &actual.name)
        .filter(|name| {
            !conditions(plan).any(|condition| {
                condition.watches_subscription(AGE, name) || condition.watches_subscription(MESSAGES, name)
            })
        })
        .map(|name| {
            Finding::new(
                format!("no alert watches {name}"),
                "a service that is down or too slow is noticed only after its messages are dead letters",
                format!("add it to the filter of an enabled google_monitoring_alert_policy for {AGE}"),
            )
        })
        .collect()
}

pub(super) fn relays(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let watches =
        |condition: &Condition, job: &str| condition.watches("\"cloud_scheduler_job\"", "job_id", job);
    let services = catalog.services.iter().filter(|service| service.relays);
    services
        .flat_map(|service| plan.relay_jobs(&service.name))
        .filter(|job| !conditions(plan).any(|condition| watches(condition, &job.name)))
        .map(|job| {
            Finding::new(
                format!("no alert watches {}", job.name),
                "if the job fails, events that a crash has left behind stay unpublished, and nobody hears of it",
                "add it to the filter of an enabled google_monitoring_alert_policy for cloud_scheduler_job",
            )
        })
        .collect()
}

/// Whether an enabled alert may watch anything: the plan does not know its filter yet.
fn is_undecided(plan: &Plan) -> bool {
    plan.alerts.iter().any(|alert| alert.enabled && alert.has_unknown_filter)
}

pub(super) fn timers(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    const ATTEMPTS: &str = "queue/task_attempt_count";
    let queues = catalog.services.iter().filter_map(|service| plan.queue(service));
    queues
        .filter(|queue| {
            !is_undecided(plan)
                && !conditions(plan).any(|condition| condition.watches(ATTEMPTS, "queue_id", &queue.name))
        })
        .map(|queue| {
            Finding::new(
                format!("no alert watches {}", queue.name),
                "if its tasks fail, events stay unpublished, and nobody hears of it before they are lost",
                format!("add it to the filter of an enabled google_monitoring_alert_policy for {ATTEMPTS}"),
            )
        })
        .collect()
}

pub(super) fn errors(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    const REQUESTS: &str = "run.googleapis.com/request_count";
    let services = catalog.services.iter().filter(|service| plan.service(&service.name).is_some());
    services
        .filter(|service| {
            !conditions(plan).any(|condition| condition.watches(REQUESTS, "service_name", &service.name))
        })
        .map(|service| {
            Finding::new(
                format!("no alert watches the errors of {}", service.name),
                "a service that fails its requests is noticed by its callers only",
                format!("add it to the filter of an enabled google_monitoring_alert_policy for {REQUESTS}"),
            )
        })
        .collect()
}

pub(super) fn budget_burn(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let services = catalog.services.iter().filter(|service| service.public);
    services
        .filter_map(|service| plan.service(&service.name))
        .filter(|service| {
            let key = format!("{}/", service.serves.as_deref().unwrap_or(&service.name));
            !plan.alerts.iter().any(|alert| {
                let burns = |condition: &Condition| condition.filter.contains("select_slo_burn_rate");
                alert.enabled
                    && alert.key.as_ref().is_some_and(|own| own.starts_with(&key))
                    && (alert.has_unknown_filter || alert.conditions.iter().any(burns))
            })
        })
        .map(|service| {
            Finding::new(
                format!("no alert watches the error budget of {}", service.name),
                "errors that are too few for the alert on errors add up for weeks, and nobody hears of them",
                "enable its google_monitoring_alert_policy with select_slo_burn_rate",
            )
        })
        .collect()
}

pub(super) fn uptime_alerts(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    plan.uptime_checks
        .iter()
        .filter_map(|check| Some((&check.service, check.id.as_ref()?)))
        .filter(|(_, id)| {
            !is_undecided(plan)
                && !conditions(plan)
                    .any(|condition| condition.watches("uptime_check/check_passed", "check_id", id))
        })
        .map(|(service, id)| {
            Finding::new(
                format!("no alert watches {id}, the uptime check of {service}"),
                "the check fails, and nobody hears of it",
                "add its uptime_check_id to the filter of an enabled google_monitoring_alert_policy",
            )
        })
        .collect()
}

pub(super) fn uptime(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let has_page = |service: &&ServiceEntry| service.routes.iter().any(|route| route.starts_with("GET "));
    let services = catalog.services.iter().filter(|service| service.public).filter(has_page);
    services
        .filter(|service| {
            plan.service(&service.name).is_some()
                && !plan.uptime_checks.iter().any(|check| check.service == service.name)
        })
        .map(|service| {
            Finding::warning(
                format!("no uptime check calls {}", service.name),
                "without requests there are no errors, so an outage that stops all callers triggers no alert",
                "remove uptime_checks = false",
            )
        })
        .collect()
}

pub(super) fn thresholds(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let retention = catalog.delivery.retention_seconds;
    let holders: Vec<&String> = dead_letters::topics(catalog, plan)
        .flat_map(|topic| plan.holders(topic))
        .map(|holder| &holder.name)
        .collect();
    let problem = |condition: &Condition| {
        let &Condition { threshold, duration_seconds, .. } = condition;
        let watches_holders = holders.iter().any(|holder| condition.watches_subscription(MESSAGES, holder));
        if !condition.is_upper {
            Some("fires below its threshold, not above".to_owned())
        } else if watches_holders && threshold >= 1.0 {
            Some(format!("fires only above {threshold} dead letters"))
        } else if condition.filter.contains(AGE) && threshold >= retention as f64 {
            Some(format!(
                "waits for messages that are older than {threshold} s, and none is kept for so long"
            ))
        } else if condition.is_share && threshold >= 1.0 {
            Some(format!("waits for a share above {threshold}, and no share is"))
        } else if duration_seconds > LONGEST_DURATION_SECONDS {
            Some(format!("fires only after {duration_seconds} s"))
        } else {
            None
        }
    };
    let mut findings = Vec::new();
    for alert in plan.alerts.iter().filter(|alert| alert.enabled) {
        for problem in alert.conditions.iter().filter_map(problem) {
            findings.push(Finding::new(
                format!("{} {problem}", alert.address),
                "nobody hears of the problem, or only after customers do",
                "use COMPARISON_GT, a threshold that a real fault reaches, and a duration of minutes",
            ));
        }
    }
    findings
}

pub(super) fn channels(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    plan.alerts
        .iter()
        .filter(|alert| alert.enabled && !alert.has_channel)
        .map(|alert| {
            Finding::warning(
                format!("{} has no notification channel", alert.address),
                "the alert shows only in the console, where nobody looks",
                "set the variable notification_email or notification_channels",
            )
        })
        .collect()
}
