//! IAM grants: a role for a member on a target.

use super::{
    super::terraform::Resource,
    read::{Reader, last_segment},
};

pub(crate) struct Grant {
    pub(crate) address: String,
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
    /// Something else, such as a bucket.
    Other,
}

#[derive(PartialEq)]
pub(crate) enum Member {
    /// The service agent: the account that Pub/Sub acts as.
    PubsubAgent,
    Everyone,
    /// Everyone who is signed in with Google.
    AnyAccount,
    /// Everyone with an account of this organization.
    Organization(String),
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
            Self::AnyAccount => "everyone with a Google account",
            Self::Account(name) | Self::Organization(name) | Self::Other(name) => name,
        }
    }

    /// The e-mail address of a service account.
    pub(crate) fn address(&self) -> Option<&str> {
        if let Self::Account(address) = self { Some(address) } else { None }
    }

    /// Whether strangers are among its people.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Everyone | Self::AnyAccount | Self::Organization(_))
    }

    /// Whether it is a service agent, which Google's own systems act as.
    pub(crate) fn is_google(&self) -> bool {
        let is_agent = |address: &str| address.contains("@gcp-sa-") || address.contains("@serverless-robot-");
        *self == Self::PubsubAgent || self.address().is_some_and(is_agent)
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
        let known = KINDS.iter().find_map(|(kind, pointer, target)| {
            resource.kind.strip_prefix(kind).map(|form| (Some((*pointer, *target)), form))
        });
        let other = || resource.kind.rfind("_iam_").map(|at| (None, &resource.kind[at + "_iam".len()..]));
        let Some((known, form)) = known.or_else(other) else { continue };
        if known.is_some() && matches!(form, "_binding" | "_policy") {
            authoritative.push(resource.address().to_owned());
        }
        let members = match form {
            "_member" => vec![member(reader, resource)],
            "_binding" => resource.texts("/members").iter().map(|text| known_member(reader, text)).collect(),
            _ => Vec::new(),
        };
        for member in members {
            let target = match known {
                None => GrantTarget::Other,
                // No check can use a grant on a target without a name, or on one in another place.
                Some((pointer, target)) => match reader.name(resource, pointer) {
                    Some(name) if is_at_its_place(reader, resource, &name) => target(name),
                    _ => continue,
                },
            };
            grants.push(Grant {
                address: resource.address().to_owned(),
                target,
                role: resource.text("/role").unwrap_or_default().to_owned(),
                member,
                condition: resource.text("/condition/0/expression").map(str::to_owned),
            });
        }
    }
    (grants, authoritative)
}

/// Whether the grant has the same location as the service or the queue with this name.
fn is_at_its_place(reader: &Reader<'_>, grant: &Resource, name: &str) -> bool {
    let Some((kind, _)) = grant.kind.split_once("_iam_") else { return true };
    let Some(location) = grant.text("/location") else { return true };
    let mut targets = reader.document.of_kind(kind).filter(|target| target.text("/name") == Some(name));
    targets.all(|target| target.text("/location").is_none_or(|own| own == location))
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
        ("allUsers", _) => Member::Everyone,
        ("allAuthenticatedUsers", _) => Member::AnyAccount,
        (_, Some(("domain" | "principalSet", _))) => Member::Organization(text.to_owned()),
        (_, Some(("serviceAccount", address))) => Member::Account(address.to_owned()),
        _ => Member::Other(text.to_owned()),
    }
}

fn is_agent(resource: &Resource) -> bool {
    resource.kind == "google_project_service_identity"
        && resource.text("/service") == Some("pubsub.googleapis.com")
}
