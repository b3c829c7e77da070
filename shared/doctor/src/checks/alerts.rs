//! Alerts: whether somebody hears of a problem, and in time.

mod watch;

use std::collections::BTreeMap;

use ::catalog::{Catalog, ServiceEntry};

use self::watch::{Limits, Problem, Watch};
use super::{Finding, dead_letters, subscriptions::matched};
use crate::plan::{Alert, Condition, Plan};

/// Something that an alert must watch.
struct Need {
    targets: fn(&Catalog, &Plan) -> Vec<Target>,
    /// Any of them is enough.
    watches: &'static [Watch],
    problem: &'static str,
    consequence: &'static str,
    remedy: &'static str,
}

struct Target {
    /// How findings name it.
    shown: String,
    /// How filters name it, if the plan knows that.
    name: Option<String>,
    /// The service that it is for, without a prefix.
    service: Option<String>,
}

impl Target {
    fn named(name: &str) -> Self {
        Self { shown: name.to_owned(), name: Some(name.to_owned()), service: None }
    }
}

const MESSAGES: &str = "pubsub.googleapis.com/subscription/num_undelivered_messages";
const AGE: &str = "pubsub.googleapis.com/subscription/oldest_unacked_message_age";
const REQUESTS: &str = "run.googleapis.com/request_count";
const LOG_ENTRIES: &str = "logging.googleapis.com/log_entry_count";
const ATTEMPTS: &str = "cloudtasks.googleapis.com/queue/task_attempt_count";
const DELAYS: &str = "cloudtasks.googleapis.com/queue/task_attempt_delays";
const UPTIME: &str = "monitoring.googleapis.com/uptime_check/check_passed";

/// Aligners that keep a peak of a value.
const PEAKS: &[&str] = &[
    "ALIGN_MAX",
    "ALIGN_MEAN",
    "ALIGN_NEXT_OLDER",
    "ALIGN_NONE",
    "ALIGN_PERCENTILE_95",
    "ALIGN_PERCENTILE_99",
];
const SUMS: &[&str] = &["ALIGN_SUM", "ALIGN_DELTA"];
const SUMS_AND_RATES: &[&str] = &["ALIGN_SUM", "ALIGN_DELTA", "ALIGN_RATE"];
const HIGHEST: &[&str] = &["REDUCE_NONE", "REDUCE_MAX", "REDUCE_SUM"];
const HOUR: u64 = 60 * 60;

/// A condition on a subscription.
const SUBSCRIPTION: Watch = Watch {
    metric: MESSAGES,
    resource: "pubsub_subscription",
    label: "resource.labels.subscription_id",
    only: None,
    limits: Limits::Above { lowest: 0.0, usual: 0.0, highest: |_, _| 1.0, unit: "dead letters" },
    aligners: PEAKS,
    reducers: HIGHEST,
    periods: (60, HOUR),
    keeps_apart: false,
    usual_place: ("dead_letters", Some(0)),
};

static DEAD_LETTERS: Need = Need {
    targets: |catalog, plan| {
        let holders = dead_letters::topics(catalog, plan).flat_map(|topic| plan.holders(topic));
        holders.map(|holder| Target::named(&holder.name)).collect()
    },
    watches: &[SUBSCRIPTION],
    problem: "no alert watches",
    consequence: "a customer notices the lost message, weeks later or never",
    remedy: MESSAGES,
};

static BACKLOG: Need = Need {
    targets: |catalog, plan| {
        matched(catalog, plan).map(|(_, _, actual)| Target::named(&actual.name)).collect()
    },
    watches: &[
        Watch {
            metric: AGE,
            limits: Limits::Above {
                lowest: 30.0,
                usual: 4.0 * 3600.0,
                highest: |catalog, _| catalog.delivery.retention_seconds as f64,
                unit: "seconds, the age of the oldest message",
            },
            usual_place: ("backlog", Some(0)),
            ..SUBSCRIPTION
        },
        Watch {
            limits: Limits::Above {
                lowest: 0.0,
                usual: 10_000.0,
                highest: |_, _| 1_000_000.0,
                unit: "waiting messages",
            },
            usual_place: ("backlog", Some(0)),
            ..SUBSCRIPTION
        },
    ],
    problem: "no alert watches",
    consequence: "a service that is down or too slow is noticed only after its messages are dead letters",
    remedy: AGE,
};

/// A condition on the log entries of a relay job: one for each failure.
const RELAY: Watch = Watch {
    metric: LOG_ENTRIES,
    resource: "cloud_scheduler_job",
    label: "resource.labels.job_id",
    only: Some(("metric.labels.severity", "ERROR", "INFO")),
    limits: Limits::Above {
        lowest: 0.0,
        usual: 60.0,
        // A job runs once a minute, so it cannot fail more often.
        highest: |_, condition| {
            condition.aggregation.as_ref().map_or(1.0, |each| each.period_seconds as f64 / 60.0)
        },
        unit: "failures in a period",
    },
    aligners: SUMS,
    reducers: &["REDUCE_SUM"],
    periods: (120, HOUR),
    keeps_apart: true,
    usual_place: ("relays", Some(0)),
};

fn relay_jobs(catalog: &Catalog, plan: &Plan) -> Vec<Target> {
    let services = catalog.services.iter().filter(|service| service.relays);
    services.flat_map(|service| plan.relay_jobs(&service.name)).map(|job| Target::named(&job.name)).collect()
}

static FAILING_RELAYS: Need = Need {
    targets: relay_jobs,
    watches: &[RELAY],
    problem: "no alert watches",
    consequence: "if the job fails, events that a crash has left behind stay unpublished, and nobody hears of it",
    remedy: "cloud_scheduler_job",
};

static STOPPED_RELAYS: Need = Need {
    targets: relay_jobs,
    watches: &[Watch {
        only: Some(("metric.labels.severity", "INFO", "ERROR")),
        limits: Limits::Absence,
        aligners: &["ALIGN_SUM", "ALIGN_DELTA", "ALIGN_RATE", "ALIGN_COUNT"],
        reducers: &["REDUCE_SUM", "REDUCE_NONE", "REDUCE_MAX", "REDUCE_MEAN", "REDUCE_COUNT"],
        periods: (60, HOUR),
        usual_place: ("relays", Some(1)),
        ..RELAY
    }],
    problem: "no alert notices the silence of",
    consequence: "a paused or deleted job never fails, and events that a crash has left behind stay unpublished",
    remedy: "the absence of INFO entries of cloud_scheduler_job",
};

const FAILING_TIMERS_WATCH: Watch = Watch {
    metric: ATTEMPTS,
    resource: "cloud_tasks_queue",
    label: "resource.labels.queue_id",
    only: Some(("metric.labels.response_code", "permission_denied", "ok")),
    limits: Limits::Above { lowest: 0.0, usual: 10.0, highest: |_, _| 1000.0, unit: "failures in a period" },
    aligners: SUMS_AND_RATES,
    reducers: HIGHEST,
    periods: (60, HOUR),
    keeps_apart: false,
    usual_place: ("timers", Some(0)),
};

fn queues(catalog: &Catalog, plan: &Plan) -> Vec<Target> {
    let queues = catalog.services.iter().filter_map(|service| plan.queue(service));
    queues.map(|queue| Target::named(&queue.name)).collect()
}

static FAILING_TIMERS: Need = Need {
    targets: queues,
    watches: &[FAILING_TIMERS_WATCH],
    problem: "no alert watches",
    consequence: "if its tasks fail, events stay unpublished, and nobody hears of it before they are lost",
    remedy: ATTEMPTS,
};

static LATE_TIMERS: Need = Need {
    targets: queues,
    watches: &[Watch {
        metric: DELAYS,
        only: None,
        limits: Limits::Above {
            lowest: 10_000.0,
            usual: 3_600_000.0,
            highest: |_, _| 86_400_000.0,
            unit: "milliseconds of delay",
        },
        aligners: &["ALIGN_PERCENTILE_99", "ALIGN_PERCENTILE_95", "ALIGN_PERCENTILE_50"],
        usual_place: ("timers", Some(1)),
        ..FAILING_TIMERS_WATCH
    }],
    problem: "no alert notices the delay of",
    consequence: "tasks that start late do not fail, so their events are late, and nobody hears of it",
    remedy: DELAYS,
};

static ERRORS: Need = Need {
    targets: |catalog, plan| {
        let services = catalog.services.iter().filter(|service| plan.service(&service.name).is_some());
        services.map(|service| Target::named(&service.name)).collect()
    },
    watches: &[Watch {
        metric: REQUESTS,
        resource: "cloud_run_revision",
        label: "resource.labels.service_name",
        only: Some(("metric.labels.response_code_class", "5xx", "2xx")),
        limits: Limits::Above {
            lowest: 0.0,
            usual: 0.5,
            // Without a denominator, the value is a number of requests.
            highest: |_, condition| if condition.denominator.is_some() { 1.0 } else { 1000.0 },
            unit: "as the share of failing requests",
        },
        aligners: SUMS_AND_RATES,
        reducers: &["REDUCE_SUM"],
        periods: (60, HOUR),
        keeps_apart: true,
        usual_place: ("errors", Some(0)),
    }],
    problem: "no alert watches the errors of",
    consequence: "a service that fails its requests is noticed by its callers only",
    remedy: REQUESTS,
};

static BUDGETS: Need = Need {
    targets: |catalog, plan| {
        let services = catalog.services.iter().filter(|service| service.public);
        let deployed = services.filter_map(|service| plan.service(&service.name));
        let target = |service: &str, key: &str| Target {
            shown: service.to_owned(),
            name: plan.slos.iter().find(|slo| slo.measures(service)).and_then(|slo| slo.name.clone()),
            service: Some(key.to_owned()),
        };
        deployed.map(|each| target(&each.name, each.serves.as_deref().unwrap_or(&each.name))).collect()
    },
    watches: &[Watch {
        metric: "",
        resource: "",
        label: "",
        only: None,
        limits: Limits::Above { lowest: 1.0, usual: 20.0, highest: |_, _| 100.0, unit: "as the burn rate" },
        aligners: &[],
        reducers: &[],
        periods: (0, 0),
        keeps_apart: false,
        usual_place: ("budget_burn", None),
    }],
    problem: "no alert watches the error budget of",
    consequence: "errors that are too few for the alert on errors add up for weeks, and nobody hears of them",
    remedy: "select_slo_burn_rate",
};

static OUTAGES: Need = Need {
    targets: |_, plan| {
        let checks = plan.uptime_checks.iter();
        checks
            .map(|check| Target {
                shown: check.service.clone(),
                name: check.id.clone(),
                service: check.key.clone(),
            })
            .collect()
    },
    watches: &[Watch {
        metric: UPTIME,
        resource: "uptime_url",
        label: "metric.labels.check_id",
        only: None,
        // Google calls from three regions or more.
        limits: Limits::Above { lowest: 0.0, usual: 1.0, highest: |_, _| 3.0, unit: "regions" },
        aligners: &["ALIGN_NEXT_OLDER"],
        reducers: &["REDUCE_COUNT_FALSE"],
        periods: (60, HOUR),
        keeps_apart: false,
        usual_place: ("uptime", Some(0)),
    }],
    problem: "no alert watches the uptime check of",
    consequence: "the check fails, and nobody hears of it",
    remedy: UPTIME,
};

static NEEDS: [&Need; 9] = [
    &DEAD_LETTERS,
    &BACKLOG,
    &FAILING_RELAYS,
    &STOPPED_RELAYS,
    &FAILING_TIMERS,
    &LATE_TIMERS,
    &ERRORS,
    &BUDGETS,
    &OUTAGES,
];

impl Need {
    /// The conditions of enabled alerts that watch the target, well or badly.
    fn candidates<'plan>(
        &self,
        plan: &'plan Plan,
        target: &Target,
    ) -> impl Iterator<Item = (&'static Watch, &'plan Alert, &'plan Condition)> {
        let enabled = plan.alerts.iter().filter(|alert| alert.enabled);
        let conditions =
            enabled.flat_map(|alert| alert.conditions.iter().map(move |condition| (alert, condition)));
        conditions.flat_map(move |(alert, condition)| {
            let watches = self.watches.iter().filter(move |watch| {
                condition.is_absence == matches!(watch.limits, Limits::Absence)
                    && match (&condition.filter, &target.name) {
                        (Some(filter), Some(name)) => watch.passes(filter, name),
                        _ => is_usual(watch, alert, condition, target),
                    }
            });
            watches.map(move |watch| (watch, alert, condition))
        })
    }

    fn missing(&self, catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
        let targets = (self.targets)(catalog, plan);
        let may_watch = |alert: &Alert| {
            alert.enabled && alert.conditions.iter().any(|condition| is_undecided(alert, condition))
        };
        if plan.alerts.iter().any(may_watch) {
            return Vec::new();
        }
        let unwatched = targets.iter().filter(|target| self.candidates(plan, target).next().is_none());
        unwatched
            .map(|target| {
                Finding::new(
                    format!("{} {}", self.problem, target.shown),
                    self.consequence,
                    format!(
                        "add it to the filter of an enabled google_monitoring_alert_policy for {}",
                        self.remedy
                    ),
                )
            })
            .collect()
    }
}

/// Whether the configuration of terraform/ watches the target with this condition, whose filter the plan does not know.
fn is_usual(watch: &Watch, alert: &Alert, condition: &Condition, target: &Target) -> bool {
    let (name, place) = watch.usual_place;
    let is_for_target = match (&alert.key, &target.service) {
        (Some(key), Some(service)) => key.split('/').next() == Some(service),
        _ => true,
    };
    alert.name == name && place.is_none_or(|place| place == condition.place) && is_for_target
}

/// Whether the alert may watch anything: the plan does not know its filter, and terraform/ has no such alert.
fn is_undecided(alert: &Alert, condition: &Condition) -> bool {
    let mut names = NEEDS.iter().flat_map(|need| need.watches).map(|watch| watch.usual_place.0);
    condition.filter.is_none() && !names.any(|name| name == alert.name)
}

pub(super) fn dead_letters(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    DEAD_LETTERS.missing(catalog, plan)
}

pub(super) fn backlog(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    BACKLOG.missing(catalog, plan)
}

pub(super) fn relays(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = FAILING_RELAYS.missing(catalog, plan);
    findings.extend(STOPPED_RELAYS.missing(catalog, plan));
    findings
}

pub(super) fn timers(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = FAILING_TIMERS.missing(catalog, plan);
    findings.extend(LATE_TIMERS.missing(catalog, plan));
    findings
}

pub(super) fn errors(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    ERRORS.missing(catalog, plan)
}

pub(super) fn budget_burn(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    BUDGETS.missing(catalog, plan)
}

pub(super) fn uptime_alerts(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    OUTAGES.missing(catalog, plan)
}

/// The problems of the alerts that watch something, but badly. Alerts that the team has added may be as they are, if
/// another one watches the same well.
pub(super) fn thresholds(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let project = plan.services.iter().find_map(|service| service.project.as_deref());
    let mut found: BTreeMap<(&str, String), Problem> = BTreeMap::new();
    for need in NEEDS {
        for target in (need.targets)(catalog, plan) {
            let watched = need.candidates(plan, &target).map(|(watch, alert, condition)| {
                let problems = watch.problems(catalog, project, alert, condition);
                (is_usual(watch, alert, condition, &target), alert, problems)
            });
            let faults = |problems: &[Problem]| problems.iter().filter(|each| !each.is_warning).count();
            let (usual, added): (Vec<_>, Vec<_>) = watched.partition(|(is_usual, ..)| *is_usual);
            let best = added.into_iter().min_by_key(|(_, _, problems)| (faults(problems), problems.len()));
            let judged = if usual.is_empty() { best.into_iter().collect() } else { usual };
            for (_, alert, problems) in judged {
                let problems = problems.into_iter();
                found.extend(problems.map(|each| ((alert.address.as_str(), each.text.clone()), each)));
            }
        }
    }
    found
        .into_iter()
        .map(|((alert, text), Problem { remedy, is_warning, .. })| Finding {
            is_warning,
            ..Finding::new(
                format!("{alert} {text}"),
                "nobody hears of the problem, or only after customers do",
                remedy,
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
