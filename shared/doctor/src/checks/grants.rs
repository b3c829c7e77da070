//! Grants: each account has the roles that it needs, and no others.

use std::collections::BTreeSet;

use ::catalog::{Catalog, ServiceEntry};

use super::{
    Finding, dead_letters,
    subscriptions::{deliveries, matched},
};
use crate::plan::{Grant, GrantTarget, Member, Plan, UNKNOWN};

pub(super) const PUBLISH: &[&str] = &["roles/pubsub.publisher", "roles/pubsub.editor", "roles/pubsub.admin"];
const SUBSCRIBE: &[&str] = &["roles/pubsub.subscriber", "roles/pubsub.editor", "roles/pubsub.admin"];
pub(super) const SIGN: &[&str] =
    &["roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountOpenIdTokenCreator"];
pub(super) const INVOKE: &[&str] = &["roles/run.invoker", "roles/run.servicesInvoker", "roles/run.admin"];
pub(super) const ACT_AS: &[&str] = &["roles/iam.serviceAccountUser"];
pub(super) const READ_SECRET: &[&str] = &["roles/secretmanager.secretAccessor", "roles/secretmanager.admin"];
/// They include the right to publish to every topic of the project.
pub(super) const PROJECT_WIDE: &[&str] = &["roles/editor", "roles/owner"];

pub(super) fn agent_publishes_dead_letters(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    dead_letters::topics(catalog, plan)
        .filter(|topic| {
            !plan.is_granted(&GrantTarget::Topic((*topic).clone()), PUBLISH, &Member::PubsubAgent)
        })
        .map(|topic| {
            Finding::new(
                format!("Pub/Sub may not publish to {topic}"),
                "failing messages are redelivered until they are lost, and never become dead letters",
                format!("grant roles/pubsub.publisher on {topic} to the Pub/Sub service agent"),
            )
        })
        .collect()
}

pub(super) fn agent_acknowledges(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    matched(catalog, plan)
        .map(|(_, _, actual)| &actual.name)
        .filter(|name| {
            !plan.is_granted(&GrantTarget::Subscription((*name).clone()), SUBSCRIBE, &Member::PubsubAgent)
        })
        .map(|name| {
            Finding::new(
                format!("Pub/Sub may not acknowledge messages of {name}"),
                "it redelivers messages that are already dead letters, and publishes them again",
                format!("grant roles/pubsub.subscriber on {name} to the Pub/Sub service agent"),
            )
        })
        .collect()
}

pub(super) fn agent_signs(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let pushes = matched(catalog, plan).filter_map(|(_, _, actual)| actual.push.as_ref());
    let accounts: BTreeSet<&String> =
        pushes.filter_map(|push| push.token.as_ref()?.account.as_ref()).collect();
    accounts
        .into_iter()
        .filter(|account| {
            !plan.is_granted(&GrantTarget::Account((*account).clone()), SIGN, &Member::PubsubAgent)
        })
        .map(|account| {
            Finding::new(
                format!("Pub/Sub may not sign tokens as {account}"),
                "it pushes no messages, and they pile up",
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
        let is_open = plan.service(&service.name).is_none_or(|deployed| deployed.is_open);
        let target = GrantTarget::Service(service.name.clone());
        // `push-endpoint` finds pushes to other places.
        if is_open || delivery.service.as_ref() != Some(&service.name) {
            continue;
        }
        let Some(account) = delivery.token.as_ref().and_then(|token| token.account.as_ref()) else {
            continue;
        };
        let is_admitted = plan.is_granted(&target, INVOKE, &Member::Account(account.clone()))
            || (service.public && plan.is_granted(&target, INVOKE, &Member::Everyone));
        if !is_admitted {
            needed.insert((&service.name, account));
        }
    }
    let finding = |(service, account): (&String, &String)| {
        Finding::new(
            format!("{account}, which delivers to {service}, may not call it"),
            "Cloud Run rejects every delivery, and the messages become dead letters",
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
        let reach = match &grant.target {
            GrantTarget::Service(name) if !delivers_to.contains(name) => name.as_str(),
            GrantTarget::Project => "every service of the project",
            _ => continue,
        };
        if delivers_to.is_empty() {
            continue;
        }
        findings.push(Finding::new(
            format!("{account} may call {reach}"),
            "a stolen delivery identity can forge events for other services",
            format!("remove {}: a delivery identity may call only its own service", grant.role),
        ));
    }
    findings
}

/// Each service with each topic that it publishes to, including its dead-letter topic.
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
        let target = GrantTarget::Topic(topic.clone());
        if member.as_ref().is_some_and(|member| plan.is_granted(&target, PUBLISH, member)) {
            continue;
        }
        findings.push(Finding::new(
            format!("{service} may not publish to {topic}"),
            "its events stay in receipts, or its rejected messages are redelivered until they are lost",
            format!(
                "grant roles/pubsub.publisher on {topic} to {}",
                member.as_ref().map_or("a dedicated service account", Member::name)
            ),
        ));
    }
    findings
}

pub(super) fn excess_publish(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let is_declared = |grant: &Grant, name: &String| {
        let is_dead_letters = catalog.services.iter().any(|service| service.dead_letter_topic == *name);
        (is_dead_letters && grant.member == Member::PubsubAgent)
            || publishers(catalog).any(|(service, topic)| {
                topic == name && account(plan, service).as_ref() == Some(&grant.member)
            })
    };
    let is_to_a_service = |grant: &Grant| {
        catalog.services.iter().any(|service| account(plan, &service.name).as_ref() == Some(&grant.member))
    };
    // Who may remove the dead letters that come from a topic may also replay them there.
    let repairs = |grant: &Grant, topic: &String| {
        let comes_from =
            |service: &&ServiceEntry| service.subscriptions.iter().any(|wired| wired.topic == *topic);
        let reads = |service: &ServiceEntry| {
            let holder = GrantTarget::Subscription(service.dead_letter_topic.clone());
            plan.is_granted(&holder, SUBSCRIBE, &grant.member)
        };
        !is_to_a_service(grant) && catalog.services.iter().filter(comes_from).any(reads)
    };
    let mut findings = Vec::new();
    // `open-grant` reports grants to strangers.
    for grant in plan.grants.iter().filter(|grant| !grant.member.is_open()) {
        let role = grant.role.as_str();
        let reach = match &grant.target {
            GrantTarget::Topic(name)
                if PUBLISH.contains(&role) && !is_declared(grant, name) && !repairs(grant, name) =>
            {
                name.as_str()
            }
            GrantTarget::Project
                if (PUBLISH.contains(&role) || PROJECT_WIDE.contains(&role)) && is_to_a_service(grant) =>
            {
                "every topic of the project"
            }
            _ => continue,
        };
        findings.push(Finding::new(
            format!("{} may publish to {reach}, which the catalog does not declare", grant.member.name()),
            "events may come from an unexpected publisher",
            format!("remove {role}, or declare .publishes in the service"),
        ));
    }
    findings
}

pub(super) fn documents(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    const READ_AND_WRITE: &[&str] = &["roles/datastore.user", "roles/datastore.owner"];
    let services = catalog.services.iter().filter_map(|service| plan.service(&service.name));
    services
        .filter(|service| {
            let project = service.project.as_deref().unwrap_or_default();
            let database = format!("projects/{project}/databases/{}", service.database());
            let includes = |condition: &String| {
                *condition == format!("resource.name == \"{database}\"")
                    || *condition == format!("resource.name.startsWith(\"{database}\")")
            };
            !plan.grants.iter().any(|grant| {
                grant.target == GrantTarget::Project
                    && READ_AND_WRITE.contains(&grant.role.as_str())
                    && account(plan, &service.name).as_ref() == Some(&grant.member)
                    && grant.condition.as_ref().is_none_or(includes)
            })
        })
        .map(|service| {
            let account = service.account.as_deref().unwrap_or(UNKNOWN);
            Finding::new(
                format!("{} may not use the database {}", service.name, service.database()),
                "every delivery is retried until the message becomes a dead letter",
                format!(
                    "grant roles/datastore.user to {account}, with the condition \
                     resource.name == \"projects/PROJECT/databases/{}\"",
                    service.database()
                ),
            )
        })
        .collect()
}

pub(super) fn excess_secrets(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let declares = |grant: &Grant, secret: &String| {
        catalog.services.iter().any(|service| {
            service.secrets.iter().any(|declared| secret.strip_prefix(&plan.prefix) == Some(&declared.secret))
                && account(plan, &service.name).as_ref() == Some(&grant.member)
        })
    };
    let is_to_a_service = |grant: &Grant| {
        catalog.services.iter().any(|service| account(plan, &service.name).as_ref() == Some(&grant.member))
    };
    let mut findings = Vec::new();
    let readers = plan.grants.iter().filter(|grant| READ_SECRET.contains(&grant.role.as_str()));
    for grant in readers.filter(|grant| !grant.member.is_open()) {
        let reach = match &grant.target {
            GrantTarget::Secret(name) if !declares(grant, name) => name.as_str(),
            GrantTarget::Project if is_to_a_service(grant) => "every secret of the project",
            _ => continue,
        };
        findings.push(Finding::new(
            format!("{} may read {reach}, which the catalog does not declare", grant.member.name()),
            "more code than necessary can leak the secret",
            format!("remove {}, or declare .secret in the service", grant.role),
        ));
    }
    findings
}

pub(super) fn secrets(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in catalog.services.iter().filter_map(|service| plan.service(&service.name)) {
        let member = account(plan, &service.name);
        for (variable, secret) in &service.secrets {
            let target = GrantTarget::Secret(secret.clone());
            if member.as_ref().is_some_and(|member| plan.is_granted(&target, READ_SECRET, member)) {
                continue;
            }
            let account = service.account.as_deref().unwrap_or(UNKNOWN);
            findings.push(Finding::new(
                format!("{} may not read {secret}, its {variable}", service.name),
                "no new instance starts",
                format!("grant roles/secretmanager.secretAccessor on {secret} to {account}"),
            ));
        }
    }
    findings
}

pub(super) fn private_service(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    catalog
        .services
        .iter()
        .filter(|service| !service.public)
        .filter(|service| {
            plan.service(&service.name).is_some_and(|deployed| deployed.is_open)
                || [Member::Everyone, Member::AnyAccount].iter().any(|member| {
                    plan.is_granted(&GrantTarget::Service(service.name.clone()), INVOKE, member)
                })
        })
        .map(|service| {
            Finding::new(
                format!("{} is private, but Cloud Run lets anyone call it", service.name),
                "it relies on Cloud Run to verify tokens, so anyone could push forged events",
                "remove invoker_iam_disabled and the grants to allUsers and allAuthenticatedUsers, \
                 or declare the service .public()",
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
                "it removes the role from all other members, including Google's service agents",
                "use google_…_iam_member, which adds one member and keeps all others",
            )
        })
        .collect()
}
