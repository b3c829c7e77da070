//! IAM grants: a role for a member on a target.

use super::{
    super::terraform::Resource,
    read::{Reader, last_segment},
};

pub(crate) struct Grant {
    pub(crate) target: GrantTarget,
    pub(crate) role: String,
    pub(crate) member: Member,
    /// An expression that must be true for the grant to apply.
    pub(crate) condition: Option<String>,
}

#[derive(PartialEq)]
pub(crate) enum GrantTarget {
    Project,
    Topic(String),
    Subscription(String),
    Service(String),
    /// The e-mail address of a service account.
    Account(String),
    Secret(String),
    Queue(String),
}

#[derive(PartialEq)]
pub(crate) enum Member {
    /// The service agent: the account that Pub/Sub acts as.
    PubsubAgent,
    Everyone,
    /// The e-mail address of a service account.
    Account(String),
    Other(String),
}

impl Resource {
    /// The e-mail address of a service account. A plan knows its parts before the account exists.
    pub(crate) fn account(&self) -> Option<String> {
        let from_parts = || {
            let (id, project) = (self.text("/account_id")?, self.text("/project")?);
            Some(format!("{id}@{project}.iam.gserviceaccount.com"))
        };
        self.text("/email").map(last_segment).or_else(from_parts)
    }
}

impl Member {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::PubsubAgent => "the Pub/Sub service agent",
            Self::Everyone => "everyone",
            Self::Account(address) | Self::Other(address) => address,
        }
    }
}

type MakeTarget = fn(String) -> GrantTarget;

/// The kind of resource without `_member` or `_binding`, the attribute that names the target, and the
/// target.
const KINDS: [(&str, &str, MakeTarget); 7] = [
    ("google_project_iam", "/project", |_| GrantTarget::Project),
    ("google_pubsub_topic_iam", "/topic", GrantTarget::Topic),
    ("google_pubsub_subscription_iam", "/subscription", GrantTarget::Subscription),
    ("google_service_account_iam", "/service_account_id", GrantTarget::Account),
    ("google_cloud_run_v2_service_iam", "/name", GrantTarget::Service),
    ("google_secret_manager_secret_iam", "/secret_id", GrantTarget::Secret),
    ("google_cloud_tasks_queue_iam", "/name", GrantTarget::Queue),
];

/// All grants, and the addresses of the authoritative ones, which replace all members of a role.
pub(super) fn read(reader: &Reader<'_>) -> (Vec<Grant>, Vec<String>) {
    let (mut grants, mut authoritative) = (Vec::new(), Vec::new());
    for resource in &reader.document.resources {
        let Some((pointer, target, form)) = KINDS.iter().find_map(|(kind, pointer, target)| {
            resource.kind.strip_prefix(kind).map(|form| (*pointer, *target, form))
        }) else {
            continue;
        };
        if matches!(form, "_binding" | "_policy") {
            authoritative.push(resource.address().to_owned());
        }
        let members = match form {
            "_member" => vec![member(reader, resource)],
            "_binding" => resource.texts("/members").iter().map(|text| known_member(reader, text)).collect(),
            _ => Vec::new(),
        };
        for member in members {
            // No check can use a grant on a target without a name.
            let Some(name) = reader.name(resource, pointer) else { continue };
            grants.push(Grant {
                target: target(name),
                role: resource.text("/role").unwrap_or_default().to_owned(),
                member,
                condition: resource.text("/condition/0/expression").map(str::to_owned),
            });
        }
    }
    (grants, authoritative)
}

fn member(reader: &Reader<'_>, resource: &Resource) -> Member {
    if let Some(text) = resource.text("/member") {
        return known_member(reader, text);
    }
    match reader.source(resource, "/member") {
        Some(source) if is_agent(source) => Member::PubsubAgent,
        Some(source) if source.kind == "google_service_account" => {
            Member::Account(source.account().unwrap_or_default())
        }
        _ => Member::Other(format!("the future member of {}", resource.address())),
    }
}

fn known_member(reader: &Reader<'_>, text: &str) -> Member {
    let mut agents = reader.document.resources.iter().filter(|resource| is_agent(resource));
    if text.ends_with("@gcp-sa-pubsub.iam.gserviceaccount.com")
        || agents.any(|agent| agent.text("/member") == Some(text))
    {
        return Member::PubsubAgent;
    }
    match (text, text.split_once(':')) {
        ("allUsers" | "allAuthenticatedUsers", _) => Member::Everyone,
        (_, Some(("serviceAccount", address))) => Member::Account(address.to_owned()),
        _ => Member::Other(text.to_owned()),
    }
}

fn is_agent(resource: &Resource) -> bool {
    resource.kind == "google_project_service_identity"
        && resource.text("/service") == Some("pubsub.googleapis.com")
}
