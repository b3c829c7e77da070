//! Services: whether they exist, run the right code, and authenticate pushes.

use ::catalog::Catalog;

use super::{Finding, grants::INVOKE, subscriptions::matched};
use crate::plan::{GrantTarget, Job, Member, Plan};

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
    let handler = catalog.timing.handler_seconds;
    for service in catalog.services.iter().filter_map(|entry| plan.service(&entry.name)) {
        let gets_pushes = matched(catalog, plan).any(|(entry, ..)| entry.name == service.name);
        if !gets_pushes && service.timeout_seconds < handler {
            findings.push(Finding::new(
                format!(
                    "the request timeout of {} ({} s) is shorter than the handler's deadline ({handler} s)",
                    service.name, service.timeout_seconds
                ),
                "Cloud Run ends requests that the service still works on, and its callers get 504",
                format!("set the timeout of {} to {}s", service.name, catalog.timing.request_timeout_seconds),
            ));
        }
    }
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
                format!("{name} is public, but not everyone may call it"),
                "Cloud Run rejects its callers, and also its pushes, because it does not know their audience",
                "set invoker_iam_disabled = true; newer organizations refuse a grant to allUsers",
            ));
        }
    }
    findings
}

pub(super) fn relay_deadline(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let needed = catalog.timing.request_timeout_seconds;
    let jobs = catalog.services.iter().flat_map(|service| plan.relay_jobs(&service.name));
    jobs.filter_map(|job| Some((&job.name, job.deadline_seconds.filter(|given| *given < needed)?)))
        .map(|(name, given)| {
            Finding::new(
                format!("{name} waits only {given} s for an answer"),
                "a relay with many pending events counts as failed, and alerts fire while it works",
                format!("set its attempt_deadline to {needed}s"),
            )
        })
        .collect()
}

/// The services that sign and verify access tokens must agree on their issuer and their keys.
pub(super) fn sign_in(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in &catalog.services {
        let Some(service) = plan.service(&entry.name) else { continue };
        let has = |name| service.secrets.contains_key(name) || service.variable(name).is_some();
        if (entry.signed_in || has("AUTH_JWKS")) && !has("AUTH_ISSUER") {
            findings.push(Finding::new(
                format!("{} verifies access tokens, but has no AUTH_ISSUER", service.name),
                "it does not start",
                "set AUTH_ISSUER to the value that the service with AUTH_SIGNING_KEY has",
            ));
        }
    }
    for variable in ["AUTH_ISSUER", "AUTH_JWKS"] {
        let services = catalog.services.iter().filter_map(|service| plan.service(&service.name));
        let mut users = services.filter_map(|service| {
            let value = service.secrets.get(variable).map(String::as_str).or(service.variable(variable))?;
            Some((&service.name, value))
        });
        let Some((first, expected)) = users.next() else { continue };
        findings.extend(users.filter(|(_, actual)| *actual != expected).map(|(name, actual)| {
            Finding::new(
                format!("{variable} of {name} is {actual}, but {first} has {expected}"),
                "the one rejects the access tokens that the other accepts: its users seem to be signed out",
                format!("give both the same {variable}"),
            )
        }));
    }
    findings
}

/// How many entries of X-Forwarded-For the proxies in front of a service have added.
pub(super) fn proxies(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let services = catalog.services.iter().filter(|entry| entry.public);
    services
        .filter_map(|entry| plan.service(&entry.name))
        .filter_map(|service| {
            let name = &service.name;
            let trusted = service.variable("TRUSTED_PROXIES").unwrap_or("0");
            let is_balanced = service.needs_load_balancer && plan.balancer.calls(name);
            match (is_balanced, trusted) {
                (true, "1") | (false, "0") => None,
                // `ingress` reports that nobody can call it.
                (false, _) if !service.is_reachable => None,
                (true, "0") => Some(Finding::new(
                    format!("{name} is behind a load balancer, but its TRUSTED_PROXIES is {trusted}"),
                    "the address of the load balancer counts as that of every caller, so a limit for one stops all",
                    "set TRUSTED_PROXIES to 1",
                )),
                (true, _) => Some(Finding::warning(
                    format!("{name} is behind one load balancer, but its TRUSTED_PROXIES is {trusted}"),
                    "a wrong number lets callers choose the address that their limits count by",
                    "set TRUSTED_PROXIES to 1, unless there are more proxies in front of the load balancer",
                )),
                (false, _) => Some(Finding::new(
                    format!("{name} accepts calls past any load balancer, but its TRUSTED_PROXIES is {trusted}"),
                    "callers choose the address that their limits count by, so no limit stops them",
                    "remove TRUSTED_PROXIES, or accept only the calls of the load balancer",
                )),
            }
        })
        .collect()
}

pub(super) fn network(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let services = catalog.services.iter().filter_map(|service| plan.service(&service.name));
    services
        .filter(|service| service.uses_network)
        .map(|service| {
            Finding::warning(
                format!("all outgoing traffic of {} goes to a network", service.name),
                "without Private Google Access and Cloud NAT there, it reaches neither Firestore nor Stripe",
                "set egress to PRIVATE_RANGES_ONLY, or make sure that the network has both",
            )
        })
        .collect()
}

pub(super) fn relay_job(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let relays = catalog.services.iter().filter(|service| service.relays);
    let relays = relays.filter(|service| plan.service(&service.name).is_some());
    relays
        .filter_map(|service| {
            let name = &service.name;
            let problem = match plan.relay_jobs(name).next() {
                None => format!("no Cloud Scheduler job calls POST /relay of {name}"),
                Some(_) if plan.relay_jobs(name).any(|job| !job.paused && job.is_frequent()) => return None,
                Some(job) if job.paused => {
                    format!("{}, which calls POST /relay of {name}, is paused", job.name)
                }
                Some(job) => format!("{} calls POST /relay of {name} only at `{}`", job.name, job.schedule),
            };
            Some(Finding::new(
                problem,
                "after a crash or an outage, committed events that were not published are published late or never",
                format!("add a google_cloud_scheduler_job that posts to /relay of {name} each minute"),
            ))
        })
        .collect()
}

impl Job {
    /// Whether it runs all the time, at least every ten minutes.
    fn is_frequent(&self) -> bool {
        let fields: Vec<&str> = self.schedule.split_whitespace().collect();
        match fields.as_slice() {
            [minute, "*", "*", "*", "*"] => {
                *minute == "*"
                    || minute
                        .strip_prefix("*/")
                        .is_some_and(|step| step.parse().is_ok_and(|step: u8| step <= 10))
            }
            _ => false,
        }
    }
}

pub(super) fn project(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let services = catalog.services.iter().filter_map(|service| plan.service(&service.name));
    let elsewhere = plan.elsewhere.iter().map(|(address, project)| {
        Finding::warning(
            format!("{address} is in the project {project}, so it is no part of this deployment"),
            "the services neither use it nor get rights by it; other findings can follow from that",
            "set its project to that of the services, unless it is for something else",
        )
    });
    let findings = services.filter_map(|service| {
        let (own, used) = (service.project.as_deref()?, service.variable("GOOGLE_CLOUD_PROJECT"));
        (used != Some(own)).then(|| {
            let used = used.unwrap_or("not set");
            Finding::new(
                format!("{} is in {own}, but its GOOGLE_CLOUD_PROJECT is {used}", service.name),
                "it uses the documents and topics of another project, or fails on every event",
                format!("set GOOGLE_CLOUD_PROJECT to {own}"),
            )
        })
    });
    findings.chain(elsewhere).collect()
}

pub(super) fn ingress(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in &catalog.services {
        let Some(service) = plan.service(&entry.name) else { continue };
        let name = &entry.name;
        if service.has_no_url {
            findings.push(Finding::new(
                format!("the default URL of {name} is disabled"),
                "Pub/Sub and Cloud Scheduler call that URL, so nothing arrives",
                "remove default_uri_disabled",
            ));
        }
        let target = GrantTarget::Service(name.clone());
        let has_operators = plan.grants.iter().any(|grant| {
            grant.target == target
                && INVOKE.contains(&grant.role.as_str())
                && matches!(grant.member, Member::Other(_))
        });
        let is_called = entry.public || (entry.for_operators && has_operators);
        if service.is_reachable && !is_called {
            findings.push(Finding::warning(
                format!("{name} accepts calls from the internet, and nobody calls it from there"),
                "only Cloud Run's check of tokens keeps strangers out: a second mistake opens the service",
                "set ingress to INGRESS_TRAFFIC_INTERNAL_ONLY",
            ));
        }
        let callers = match () {
            () if service.is_reachable => continue,
            () if entry.public && service.needs_load_balancer && plan.balancer.calls(name) => continue,
            () if entry.public => "is public",
            () if entry.for_operators && has_operators => "has operators",
            () => continue,
        };
        findings.push(Finding::new(
            format!("{name} {callers}, but accepts no calls from the internet"),
            "its callers get 404, whatever their token",
            "set ingress to INGRESS_TRAFFIC_ALL; Cloud Run or the service still checks who calls. Or set the variable domain",
        ));
    }
    findings
}
