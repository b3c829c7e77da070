//! Single settings that make a resource useless, unsafe or silent. Each rule compares one value of one kind of resource.
//! A value that a plan does not know yet breaks no rule.

use ::catalog::Catalog;
use serde_json::Value;

use super::Finding;
use crate::plan::{Known, Plan, Resource};

struct Rule {
    kind: &'static str,
    /// A path as in a JSON pointer. `*` stands for each item of a list.
    path: &'static str,
    wants: Wants,
    /// Which resources of the kind the rule is for.
    applies: fn(&Catalog, &Plan, &Resource) -> bool,
    /// The end of the sentence that the resource begins. `{}` stands for the value.
    problem: &'static str,
    consequence: &'static str,
    remedy: &'static str,
    is_warning: bool,
}

enum Wants {
    /// None of these texts, or `true` or `false`.
    Not(&'static [&'static str]),
    Present,
    Absent,
    /// From and to, as a number or as a duration such as `60s`.
    Between(f64, f64),
}

const SERVICE: &str = "google_cloud_run_v2_service";
const UPTIME_CHECK: &str = "google_monitoring_uptime_check_config";
const QUEUE: &str = "google_cloud_tasks_queue";
const BUDGET: &str = "google_billing_budget";
const BUCKET: &str = "google_storage_bucket";
const SECRET: &str = "google_secret_manager_secret";

const FAULT: Rule = Rule {
    kind: "",
    path: "",
    wants: Wants::Present,
    applies: |_, _, _| true,
    problem: "",
    consequence: "",
    remedy: "",
    is_warning: false,
};
const WARNING: Rule = Rule { is_warning: true, ..FAULT };

fn is_in_catalog(catalog: &Catalog, _: &Plan, resource: &Resource) -> bool {
    catalog.services.iter().any(|service| resource.text("/name") == Some(&service.name))
}

/// A check of a service of the catalog, and not one that the team has added.
fn calls_a_service(_: &Catalog, plan: &Plan, resource: &Resource) -> bool {
    plan.uptime_checks.iter().any(|check| check.address == resource.address())
}

static RULES: &[Rule] = &[
    Rule {
        kind: "google_service_account",
        path: "disabled",
        wants: Wants::Not(&["true"]),
        applies: |_, plan, resource| plan.is_own_account(&resource.account().unwrap_or_default()),
        problem: "is disabled",
        consequence: "its service does not start, or gets no events: a disabled account has no tokens",
        remedy: "remove disabled = true",
        ..FAULT
    },
    Rule {
        kind: SERVICE,
        path: "iap_enabled",
        wants: Wants::Not(&["true"]),
        applies: is_in_catalog,
        problem: "has Identity-Aware Proxy, which asks each caller to sign in with Google",
        consequence: "the proxy refuses pushes, relay jobs and customers",
        remedy: "remove iap_enabled",
        ..FAULT
    },
    Rule {
        kind: SERVICE,
        path: "template/0/containers/0/command",
        wants: Wants::Absent,
        applies: is_in_catalog,
        problem: "runs the command {} instead of the program of the image",
        consequence: "another program acknowledges the service's events, or none starts",
        remedy: "remove command; args choose the service",
        ..FAULT
    },
    Rule {
        kind: SERVICE,
        path: "template/0/containers/0/liveness_probe",
        applies: is_in_catalog,
        problem: "has no liveness probe",
        consequence: "a container that hangs keeps its requests, and nothing restarts it",
        remedy: "add a liveness_probe for /healthz",
        ..WARNING
    },
    Rule {
        kind: SERVICE,
        path: "template/0/containers/0/liveness_probe/0/failure_threshold",
        wants: Wants::Between(2.0, 30.0),
        applies: is_in_catalog,
        problem: "restarts its container after {} failed probes",
        consequence: "a single slow answer ends deliveries in progress, or a hanging container stays",
        remedy: "use a failure_threshold from 2 to 30",
        ..WARNING
    },
    Rule {
        kind: SERVICE,
        path: "template/0/containers/0/startup_probe/0/failure_threshold",
        wants: Wants::Between(5.0, 240.0),
        applies: is_in_catalog,
        problem: "gives a new container only {} probes to start",
        consequence: "a new instance on a busy machine is stopped before it is ready",
        remedy: "use a failure_threshold of 5 or more",
        ..WARNING
    },
    Rule {
        kind: "google_monitoring_notification_channel",
        path: "enabled",
        wants: Wants::Not(&["false"]),
        problem: "is disabled",
        consequence: "nobody gets the alerts that it should forward",
        remedy: "remove enabled = false",
        ..FAULT
    },
    Rule {
        kind: UPTIME_CHECK,
        path: "content_matchers",
        applies: calls_a_service,
        problem: "does not look at the content",
        consequence: "Google's own pages for 403 and 404 count as an answer of the service, so an outage is not noticed",
        remedy: "add content_matchers that only an answer of the service passes",
        ..FAULT
    },
    Rule {
        kind: UPTIME_CHECK,
        path: "http_check/0/accepted_response_status_codes/*/status_class",
        wants: Wants::Not(&["STATUS_CLASS_5XX", "STATUS_CLASS_ANY"]),
        applies: calls_a_service,
        problem: "accepts {}",
        consequence: "a server error counts as an answer, so an outage is not noticed",
        remedy: "accept STATUS_CLASS_2XX and STATUS_CLASS_4XX only",
        ..FAULT
    },
    Rule {
        kind: UPTIME_CHECK,
        path: "http_check/0/validate_ssl",
        wants: Wants::Not(&["false"]),
        applies: calls_a_service,
        problem: "accepts any certificate",
        consequence: "customers get an error when the certificate expires, and the check passes",
        remedy: "set validate_ssl to true",
        ..WARNING
    },
    Rule {
        kind: UPTIME_CHECK,
        path: "http_check/0/request_method",
        wants: Wants::Not(&["POST"]),
        applies: calls_a_service,
        problem: "sends POST",
        consequence: "each check can change data, such as add a user",
        remedy: "use GET",
        ..WARNING
    },
    Rule {
        kind: "google_firestore_database",
        path: "delete_protection_state",
        wants: Wants::Not(&["DELETE_PROTECTION_DISABLED", "DELETE_PROTECTION_STATE_UNSPECIFIED"]),
        applies: |_, plan, resource| {
            plan.services.iter().any(|service| Some(service.database().as_str()) == resource.text("/name"))
        },
        problem: "has no protection against deletion",
        consequence: "one command or one changed variable deletes all documents",
        remedy: "remove protect_data = false",
        ..WARNING
    },
    Rule {
        kind: "google_firestore_backup_schedule",
        path: "retention",
        wants: Wants::Between(86_400.0, 8_467_200.0),
        problem: "keeps backups for only {}",
        consequence: "the backup is gone before somebody notices a mistake",
        remedy: "set the variable backup_days to at least 1",
        ..WARNING
    },
    Rule {
        kind: "google_firestore_field",
        path: "ttl_config/0/state",
        wants: Wants::Not(&["NEEDS_REPAIR"]),
        problem: "has a TTL policy that needs repair",
        consequence: "expired documents are not deleted, so the database and its cost keep growing",
        remedy: "remove the policy and add it again",
        ..WARNING
    },
    Rule {
        kind: QUEUE,
        path: "rate_limits/0/max_concurrent_dispatches",
        wants: Wants::Between(10.0, 5000.0),
        problem: "starts only {} tasks at the same time",
        consequence: "when many timers are due, their events are published late",
        remedy: "remove rate_limits: the default is 1000",
        ..WARNING
    },
    Rule {
        kind: QUEUE,
        path: "retry_config/0/max_backoff",
        wants: Wants::Between(1.0, 3600.0),
        problem: "waits up to {} between two attempts",
        consequence: "after an outage, events are published hours late",
        remedy: "set max_backoff to 600s",
        ..WARNING
    },
    Rule {
        kind: QUEUE,
        path: "retry_config/0/min_backoff",
        wants: Wants::Between(0.0, 600.0),
        problem: "waits at least {} after a failed attempt",
        consequence: "a single failure makes an event late",
        remedy: "set min_backoff to 1s",
        ..WARNING
    },
    Rule {
        kind: QUEUE,
        path: "stackdriver_logging_config",
        problem: "logs no attempts",
        consequence: "the alert on timers says to read this log, and it is empty",
        remedy: "add stackdriver_logging_config with sampling_ratio = 1",
        ..WARNING
    },
    Rule {
        kind: QUEUE,
        path: "stackdriver_logging_config/0/sampling_ratio",
        wants: Wants::Between(0.1, 1.0),
        problem: "logs only the share {} of its attempts",
        consequence: "the alert on timers says to read this log, and the failed attempts can be missing",
        remedy: "set sampling_ratio to 1",
        ..WARNING
    },
    Rule {
        kind: SECRET,
        path: "ttl",
        wants: Wants::Absent,
        problem: "expires after {}",
        consequence: "Secret Manager deletes the secret, and no new instance starts",
        remedy: "remove ttl",
        ..FAULT
    },
    Rule {
        kind: SECRET,
        path: "expire_time",
        wants: Wants::Absent,
        problem: "expires at {}",
        consequence: "Secret Manager deletes the secret, and no new instance starts",
        remedy: "remove expire_time",
        ..FAULT
    },
    Rule {
        kind: "google_service_account_key",
        path: "service_account_id",
        wants: Wants::Absent,
        applies: |_, plan, resource| {
            let name = resource.text("/service_account_id").and_then(|path| path.rsplit('/').next());
            name.is_none_or(|name| plan.is_own_account(name))
        },
        problem: "is a key of an account of the deployment",
        consequence: "a copy of the key is the account: it does not expire, and the state holds it",
        remedy: "remove the key; services get tokens without one",
        ..WARNING
    },
    Rule {
        kind: "google_logging_metric",
        path: "disabled",
        wants: Wants::Not(&["true"]),
        problem: "is disabled",
        consequence: "the charts and the alerts that use it show nothing",
        remedy: "remove disabled = true",
        ..WARNING
    },
    Rule {
        kind: "google_project_service",
        path: "disable_on_destroy",
        wants: Wants::Not(&["true"]),
        problem: "disables its API when it is destroyed",
        consequence: "everything else in the project that uses the API stops working",
        remedy: "set disable_on_destroy to false",
        ..WARNING
    },
    Rule {
        kind: BUCKET,
        path: "public_access_prevention",
        wants: Wants::Not(&["inherited"]),
        problem: "can be opened to everyone",
        consequence: "a single wrong grant shows its files to strangers",
        remedy: "set public_access_prevention to enforced",
        ..WARNING
    },
    Rule {
        kind: BUCKET,
        path: "uniform_bucket_level_access",
        wants: Wants::Not(&["false"]),
        problem: "has access lists for single files",
        consequence: "no grant shows who can read a file",
        remedy: "set uniform_bucket_level_access to true",
        ..WARNING
    },
    Rule {
        kind: BUDGET,
        path: "threshold_rules",
        problem: "has no thresholds",
        consequence: "nobody hears that the project costs more than expected",
        remedy: "add threshold_rules",
        ..WARNING
    },
    Rule {
        kind: BUDGET,
        path: "threshold_rules/*/threshold_percent",
        wants: Wants::Between(0.01, 2.0),
        problem: "sends a mail at {} times its amount",
        consequence: "the mail comes too late, or at once",
        remedy: "use values such as 0.5, 0.9 and 1: 1 is the whole amount",
        ..WARNING
    },
    Rule {
        kind: BUDGET,
        path: "budget_filter/0/projects",
        problem: "counts the costs of all projects of the billing account",
        consequence: "its mails say nothing about this project",
        remedy: "name the project in budget_filter",
        ..WARNING
    },
    Rule {
        kind: "google_compute_ssl_policy",
        path: "min_tls_version",
        wants: Wants::Not(&["TLS_1_0", "TLS_1_1"]),
        problem: "accepts {}",
        consequence: "the connections of customers can use broken encryption",
        remedy: "set min_tls_version to TLS_1_2",
        ..WARNING
    },
    Rule {
        kind: "google_compute_target_https_proxy",
        path: "ssl_policy",
        problem: "has no SSL policy, so it accepts TLS 1.0",
        consequence: "the connections of customers can use broken encryption",
        remedy: "set ssl_policy",
        ..WARNING
    },
    Rule {
        kind: "google_compute_url_map",
        path: "default_url_redirect/0/https_redirect",
        wants: Wants::Not(&["false"]),
        problem: "redirects plain HTTP to plain HTTP",
        consequence: "the redirect never ends, and customers send their data without encryption",
        remedy: "set https_redirect to true",
        ..WARNING
    },
    Rule {
        kind: "google_compute_backend_service",
        path: "backend/0/capacity_scaler",
        wants: Wants::Between(0.1, 1.0),
        problem: "has the capacity {}",
        consequence: "the load balancer sends it no requests",
        remedy: "remove capacity_scaler",
        ..FAULT
    },
];

impl Rule {
    fn is_broken(&self, known: &Known<'_>) -> bool {
        match (&self.wants, known) {
            (_, Known::Unknown) => false,
            (Wants::Present, known) => matches!(known, Known::Absent),
            (Wants::Absent, known) => matches!(known, Known::Value(_)),
            (Wants::Not(_) | Wants::Between(..), Known::Absent) => false,
            (Wants::Not(texts), Known::Value(value)) => texts.contains(&shown(value).as_str()),
            (Wants::Between(lowest, highest), Known::Value(value)) => {
                let number = shown(value).trim_end_matches('s').parse::<f64>();
                !number.is_ok_and(|number| (*lowest..=*highest).contains(&number))
            }
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn settings(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in RULES {
        let resources = plan.resources_of_kind(rule.kind);
        for resource in resources.filter(|resource| (rule.applies)(catalog, plan, resource)) {
            let known = resource.known(rule.path);
            let Some(broken) = known.iter().find(|known| rule.is_broken(known)) else { continue };
            let value = if let Known::Value(value) = broken { shown(value) } else { String::new() };
            findings.push(Finding {
                is_warning: rule.is_warning,
                ..Finding::new(
                    format!("{} {}", resource.address(), rule.problem.replace("{}", &value)),
                    rule.consequence,
                    rule.remedy,
                )
            });
        }
    }
    findings
}
