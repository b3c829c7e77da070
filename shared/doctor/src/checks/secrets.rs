//! Secrets, and the fakes that stand in for what they open.

use ::catalog::{Catalog, ServiceEntry};

use super::Finding;
use crate::plan::{CloudRunService, Plan};

/// What a service can do without its secret.
struct StandIn {
    secret: &'static str,
    /// The variable that chooses the fake, with the value `local`.
    choice: &'static str,
    consequence: &'static str,
    /// A variable that the service needs with the secret.
    companion: Option<&'static str>,
}

const STAND_INS: [StandIn; 2] = [
    StandIn {
        secret: "MAIL_URL",
        choice: "MAIL",
        consequence: "its mails are stored in the database, and customers get none",
        companion: Some("MAIL_FROM"),
    },
    StandIn {
        secret: "STRIPE_SECRET_KEY",
        choice: "PAYMENTS",
        consequence: "its charges are recorded, and no money moves",
        companion: None,
    },
];

impl StandIn {
    fn is_chosen(&self, service: &CloudRunService) -> bool {
        service.variable(self.choice) == Some("local")
    }
}

/// Each deployed service with the secrets that it declares.
fn declared<'a>(
    catalog: &'a Catalog,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a CloudRunService, &'a str, Option<&'static StandIn>)> {
    let of_service = |entry: &'a ServiceEntry| {
        let service = plan.service(&entry.name)?;
        Some(entry.secrets.iter().map(move |secret| {
            let stand_in = STAND_INS.iter().find(|stand_in| stand_in.secret == secret.env);
            (service, secret.env.as_str(), stand_in)
        }))
    };
    catalog.services.iter().filter_map(of_service).flatten()
}

pub(super) fn stand_ins(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    declared(catalog, plan)
        .filter_map(|(service, _, stand_in)| Some((service, stand_in?)))
        .filter(|(service, stand_in)| stand_in.is_chosen(service))
        .map(|(service, stand_in)| {
            Finding::warning(
                format!("{} has {}=local", service.name, stand_in.choice),
                stand_in.consequence,
                format!("for real customers, remove it and set the secret for {}", stand_in.secret),
            )
        })
        .collect()
}

pub(super) fn missing(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, variable, stand_in) in declared(catalog, plan) {
        let name = &service.name;
        let choice = stand_in.filter(|stand_in| stand_in.is_chosen(service));
        let is_set = service.secrets.contains_key(variable)
            || service.variable(variable).is_some_and(|value| !value.is_empty());
        if !is_set && choice.is_none() {
            let or =
                stand_in.map_or(String::new(), |stand_in| format!(", or choose {}=local", stand_in.choice));
            findings.push(Finding::new(
                format!("{name} has no {variable}"),
                "it does not start",
                format!("set the value in the variable secrets{or}"),
            ));
        }
        if is_set && !service.secrets.contains_key(variable) {
            findings.push(Finding::new(
                format!("{variable} of {name} is not from Secret Manager"),
                "everybody who may see the service or the state can read the secret",
                "set the value in the variable secrets, and rotate it",
            ));
        }
        let companion =
            stand_in.and_then(|stand_in| stand_in.companion).filter(|_| is_set && choice.is_none());
        if let Some(companion) = companion.filter(|companion| service.variable(companion).is_none()) {
            findings.push(Finding::new(
                format!("{name} has {variable}, but no {companion}"),
                "it does not start",
                format!("set {companion} in the variable environment"),
            ));
        }
    }
    findings
}
