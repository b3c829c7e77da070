//! Who may do what: what is needed, and nothing else.

use std::collections::BTreeSet;

use ::catalog::Catalog;

use super::{
    Finding, dead_letters,
    subscriptions::{deliveries, found},
};
use crate::plan::{Grant, Member, On, Plan, UNKNOWN};

const PUBLISH: &[&str] = &["roles/pubsub.publisher", "roles/pubsub.editor", "roles/pubsub.admin"];
const SUBSCRIBE: &[&str] = &["roles/pubsub.subscriber", "roles/pubsub.editor", "roles/pubsub.admin"];
const SIGN: &[&str] = &["roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountOpenIdTokenCreator"];
const INVOKE: &[&str] = &["roles/run.invoker", "roles/run.servicesInvoker", "roles/run.admin"];
/// What they allow on one topic or service, they allow on all of the project.
const EVERYTHING: &[&str] = &["roles/editor", "roles/owner"];

pub(super) fn agent_parks(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    dead_letters::topics(catalog, plan)
        .filter(|topic| !plan.is_granted(&On::Topic((*topic).clone()), PUBLISH, &Member::PubsubAgent))
        .map(|topic| {
            Finding::new(
                format!("Pub/Sub may not publish to {topic}"),
                "it cannot park what a service fails on, and delivers it until it is lost, without a word",
                format!("grant roles/pubsub.publisher on {topic} to the Pub/Sub service agent"),
            )
        })
        .collect()
}

pub(super) fn agent_acknowledges(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    found(catalog, plan)
        .map(|(_, _, found)| &found.name)
        .filter(|name| !plan.is_granted(&On::Subscription((*name).clone()), SUBSCRIBE, &Member::PubsubAgent))
        .map(|name| {
            Finding::new(
                format!("Pub/Sub may not acknowledge in {name}"),
                "what it has parked it goes on delivering, and parks again and again",
                format!("grant roles/pubsub.subscriber on {name} to the Pub/Sub service agent"),
            )
        })
        .collect()
}

pub(super) fn agent_signs(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let pushes = found(catalog, plan).filter_map(|(_, _, found)| found.push.as_ref());
    let accounts: BTreeSet<&String> =
        pushes.filter_map(|push| push.token.as_ref()?.account.as_ref()).collect();
    accounts
        .into_iter()
        .filter(|account| !plan.is_granted(&On::Account((*account).clone()), SIGN, &Member::PubsubAgent))
        .map(|account| {
            Finding::new(
                format!("Pub/Sub may not sign tokens as {account}"),
                "it pushes nothing, and the messages pile up",
                format!(
                    "grant roles/iam.serviceAccountTokenCreator on {account} to the Pub/Sub service agent"
                ),
            )
        })
        .collect()
}

pub(super) fn invoke(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut needed = BTreeSet::new();
    for (service, _, delivery) in deliveries(catalog, plan) {
        let is_open = plan.service(&service.name).is_none_or(|run| run.is_open);
        let on = On::Service(service.name.clone());
        // A push elsewhere is what `push-endpoint` finds.
        if is_open || delivery.service.as_ref() != Some(&service.name) {
            continue;
        }
        let Some(account) = delivery.token.as_ref().and_then(|token| token.account.as_ref()) else {
            continue;
        };
        let is_admitted = plan.is_granted(&on, INVOKE, &Member::Account(account.clone()))
            || (service.public && plan.is_granted(&on, INVOKE, &Member::Everyone));
        if !is_admitted {
            needed.insert((&service.name, account));
        }
    }
    let finding = |(service, account): (&String, &String)| {
        Finding::new(
            format!("{account}, which delivers to {service}, may not call it"),
            "Cloud Run refuses every delivery, and the messages end as dead letters",
            format!("grant roles/run.invoker on {service} to {account}"),
        )
    };
    needed.into_iter().map(finding).collect()
}

pub(super) fn excess_invoke(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for grant in plan.grants.iter().filter(|grant| INVOKE.contains(&grant.role.as_str())) {
        let Member::Account(account) = &grant.member else { continue };
        let delivers_to: BTreeSet<&String> = deliveries(catalog, plan)
            .filter(|(_, _, delivery)| {
                delivery.token.as_ref().is_some_and(|token| token.account.as_ref() == Some(account))
            })
            .map(|(service, _, _)| &service.name)
            .collect();
        let reach = match &grant.on {
            On::Service(name) if !delivers_to.contains(name) => name.as_str(),
            On::Project => "every service of the project",
            _ => continue,
        };
        if delivers_to.is_empty() {
            continue;
        }
        findings.push(Finding::new(
            format!("{account} may call {reach}"),
            "whoever gets hold of one delivery identity can forge events for other services",
            format!("remove {}: a delivery identity may call its own service only", grant.role),
        ));
    }
    findings
}

/// Each topic that a service publishes to, its dead-letter topic included, with the service.
fn publishers(catalog: &Catalog) -> impl Iterator<Item = (&String, &String)> {
    catalog.services.iter().flat_map(|service| {
        let rejects = (!service.subscriptions.is_empty()).then_some(&service.dead_letter_topic);
        service.publishes_to.iter().chain(rejects).map(move |topic| (&service.name, topic))
    })
}

fn account(plan: &Plan, service: &str) -> Option<Member> {
    plan.service(service)?.account.clone().map(Member::Account)
}

pub(super) fn publish(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, topic) in publishers(catalog) {
        if plan.topic(topic).is_none() || plan.service(service).is_none() {
            continue;
        }
        let member = account(plan, service);
        let on = On::Topic(topic.clone());
        if member.as_ref().is_some_and(|member| plan.is_granted(&on, PUBLISH, member)) {
            continue;
        }
        findings.push(Finding::new(
            format!("{service} may not publish to {topic}"),
            "its events stay in its receipts, or what it rejects comes back for ever",
            format!(
                "grant roles/pubsub.publisher on {topic} to {}",
                member.as_ref().map_or("an account of its own", Member::shown)
            ),
        ));
    }
    findings
}

pub(super) fn excess_publish(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let is_meant = |grant: &Grant, name: &String| {
        let is_dead_letters = catalog.services.iter().any(|service| service.dead_letter_topic == *name);
        (is_dead_letters && grant.member == Member::PubsubAgent)
            || publishers(catalog).any(|(service, topic)| {
                topic == name && account(plan, service).as_ref() == Some(&grant.member)
            })
    };
    let is_of_a_service = |grant: &Grant| {
        catalog.services.iter().any(|service| account(plan, &service.name).as_ref() == Some(&grant.member))
    };
    let mut findings = Vec::new();
    for grant in &plan.grants {
        let role = grant.role.as_str();
        let reach = match &grant.on {
            On::Topic(name) if PUBLISH.contains(&role) && !is_meant(grant, name) => name.as_str(),
            On::Project
                if (PUBLISH.contains(&role) || EVERYTHING.contains(&role)) && is_of_a_service(grant) =>
            {
                "every topic of the project"
            }
            _ => continue,
        };
        findings.push(Finding::new(
            format!("{} may publish to {reach}, which the catalog does not say", grant.member.shown()),
            "events may come from somebody whom nobody suspects",
            format!("remove {role}, or declare .publishes where it belongs"),
        ));
    }
    findings
}

pub(super) fn documents(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    const USE: &[&str] = &["roles/datastore.user", "roles/datastore.owner"];
    let services = catalog.services.iter().filter_map(|service| plan.service(&service.name));
    services
        .filter(|run| {
            let suffix = format!("/databases/{}\"", run.database());
            !plan.grants.iter().any(|grant| {
                grant.on == On::Project
                    && USE.contains(&grant.role.as_str())
                    && account(plan, &run.name).as_ref() == Some(&grant.member)
                    && grant.condition.as_ref().is_none_or(|condition| condition.contains(&suffix))
            })
        })
        .map(|run| {
            let account = run.account.as_deref().unwrap_or(UNKNOWN);
            Finding::new(
                format!("{} may not use the database {}", run.name, run.database()),
                "each delivery is retried until it is a dead letter",
                format!("grant roles/datastore.user on that database to {account}"),
            )
        })
        .collect()
}

pub(super) fn private_service(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    catalog
        .services
        .iter()
        .filter(|service| !service.public)
        .filter(|service| {
            plan.service(&service.name).is_some_and(|run| run.is_open)
                || plan.is_granted(&On::Service(service.name.clone()), INVOKE, &Member::Everyone)
        })
        .map(|service| {
            Finding::new(
                format!("{} is private, but Cloud Run lets everyone call it", service.name),
                "it trusts Cloud Run to have checked the caller, so everyone could push forged events",
                "take the role from allUsers and allAuthenticatedUsers, or declare it .public()",
            )
        })
        .collect()
}

pub(super) fn authoritative(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    plan.authoritative
        .iter()
        .map(|address| {
            Finding::new(
                format!("{address} is authoritative"),
                "it takes the role from everybody whom it does not name, Google's own agents included",
                "use google_…_iam_member, which adds one member and touches no other",
            )
        })
        .collect()
}
