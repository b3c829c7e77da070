//! Access: nobody has more rights than the deployment needs. `grants` checks the rights that it needs.

use ::catalog::Catalog;

use super::{
    Finding,
    grants::{ACT_AS, INVOKE, PROJECT_WIDE, PUBLISH, READ_SECRET, SIGN},
};
use crate::plan::{Grant, GrantTarget, Member, Plan};

/// Grants to everyone, or to everyone with an account of some organization.
pub(super) fn strangers(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let is_intended = |grant: &Grant| {
        let GrantTarget::Service(name) = &grant.target else { return false };
        let entry = catalog.services.iter().find(|service| service.name == *name);
        let is_open = matches!(grant.member, Member::Everyone | Member::AnyAccount);
        // `private-service` reports the others.
        INVOKE.contains(&grant.role.as_str()) && entry.is_none_or(|entry| entry.public || is_open)
    };
    let open = plan.grants.iter().filter(|grant| grant.member.is_open() && !is_intended(grant));
    open.map(|grant| {
        let Grant { role, member, address, .. } = grant;
        let finding = Finding::new(
            format!("{address} gives {role} to {}", member.name()),
            "strangers can read, change or forge what the role allows",
            "remove the grant, or name the people, groups or accounts that need it",
        );
        // The team can mean to publish the files of a bucket of its own.
        Finding { is_warning: matches!(grant.target, GrantTarget::Other), ..finding }
    })
    .collect()
}

/// What a role on the whole project allows that only single resources need.
const WIDE: [(&[&str], &str); 10] = [
    (PROJECT_WIDE, "change everything in the project"),
    (PUBLISH, "publish to every topic of the project"),
    (&["roles/pubsub.subscriber"], "take messages from every subscription of the project"),
    (
        &["roles/datastore.user", "roles/datastore.owner"],
        "change the documents of every database of the project",
    ),
    (&["roles/datastore.viewer"], "read the documents of every database of the project"),
    (
        &["roles/storage.admin", "roles/storage.objectAdmin", "roles/storage.objectViewer"],
        "read every bucket of the project, also Terraform's state",
    ),
    (READ_SECRET, "read every secret of the project"),
    (INVOKE, "call every service of the project"),
    (&["roles/run.developer"], "replace every service of the project"),
    (
        &[
            "roles/iam.serviceAccountTokenCreator",
            "roles/iam.serviceAccountOpenIdTokenCreator",
            "roles/iam.serviceAccountUser",
            "roles/iam.serviceAccountAdmin",
            "roles/iam.serviceAccountKeyAdmin",
        ],
        "act as every account of the project",
    ),
];

pub(super) fn excess_roles(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for grant in plan.grants.iter().filter(|grant| grant.target == GrantTarget::Project) {
        let role = grant.role.as_str();
        let wide = WIDE.iter().find(|(roles, _)| roles.contains(&role));
        // A condition that names no resource does not narrow the grant.
        let is_narrow = grant.condition.as_ref().is_some_and(|condition| condition.contains("resource."));
        let Some((roles, reach)) = wide.filter(|_| !is_narrow) else { continue };
        let is_own = grant.member.address().is_some_and(|address| plan.is_own_account(address));
        let is_service =
            plan.services.iter().any(|service| service.account.as_deref() == grant.member.address());
        // `excess-publish`, `excess-secret` and `excess-invoke` report these, and `open-grant` those to everyone.
        let is_reported = grant.member.is_open()
            || (is_service && [PROJECT_WIDE, PUBLISH, READ_SECRET].contains(roles))
            || (is_own && !is_service && *roles == INVOKE);
        if is_reported || grant.member.is_google() {
            continue;
        }
        let finding = Finding::new(
            format!("{} may {reach}", grant.member.name()),
            "one stolen token or one mistake reaches far beyond its own resources, and other copies in the project",
            format!(
                "remove {role} on the project, and grant it on the single resources, or with a condition"
            ),
        );
        findings.push(Finding { is_warning: !is_own, ..finding });
    }
    findings
}

/// Who may act as a service or as its delivery identity, and so forge its events or use its rights.
pub(super) fn impersonation(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    const ROLES: [&[&str]; 3] =
        [SIGN, ACT_AS, &["roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin"]];
    let mut findings = Vec::new();
    for grant in &plan.grants {
        let GrantTarget::Account(account) = &grant.target else { continue };
        let is_itself = grant.member.address() == Some(account);
        let is_role = ROLES.iter().any(|roles| roles.contains(&grant.role.as_str()));
        if !is_role
            || is_itself
            || !plan.is_own_account(account)
            || grant.member.is_google()
            || grant.member.is_open()
        {
            continue;
        }
        let is_delivery =
            plan.services.iter().any(|service| service.variable("PUSH_SERVICE_ACCOUNT") == Some(account));
        let is_own = grant.member.address().is_some_and(|address| plan.is_own_account(address));
        let finding = Finding::new(
            format!("{} may act as {account}", grant.member.name()),
            "it can forge events, or use all rights of that account",
            format!("remove {}", grant.role),
        );
        // An operator may create the tasks of timers again.
        findings.push(Finding { is_warning: !is_delivery && !is_own, ..finding });
    }
    findings
}
