//! Revisions: whether the newest one serves.

use ::catalog::Catalog;

use super::Finding;
use crate::plan::{CloudRunService, Plan, Probe};

fn deployed<'a>(catalog: &'a Catalog, plan: &'a Plan) -> impl Iterator<Item = &'a CloudRunService> {
    catalog.services.iter().filter_map(|service| plan.service(&service.name))
}

pub(super) fn traffic(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let is_declared = |service: &CloudRunService| {
        let declared = service.serves.as_ref().and_then(|name| plan.newest_shares.get(name));
        declared == Some(&service.newest_percent)
    };
    deployed(catalog, plan)
        .filter(|service| service.newest_percent < 100 && !is_declared(service))
        .map(|service| {
            let (name, percent) = (&service.name, service.newest_percent);
            let problem = format!("the newest revision of {name} gets {percent} % of the traffic");
            let consequence = "the rest goes to older revisions: later deployments do not reach it";
            let remedy = "deploy again, or declare a canary: scripts/deploy PROJECT --canary PERCENT";
            // A share is a canary, and a state does not say whether it is declared.
            if percent == 0 {
                Finding::new(problem, consequence, remedy)
            } else {
                Finding::warning(problem, consequence, remedy)
            }
        })
        .collect()
}

pub(super) fn instances(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    deployed(catalog, plan)
        .filter(|service| service.is_stopped)
        .map(|service| {
            Finding::new(
                format!("{} has no instances", service.name),
                "its requests fail, and its messages become dead letters",
                "remove manual_instance_count = 0 from its scaling",
            )
        })
        .collect()
}

const PROBED: &str = "/healthz";

pub(super) fn liveness(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    probes(
        catalog,
        plan,
        |service| Some(("liveness", service.liveness.as_ref()?)),
        "Cloud Run restarts the container again and again, and deliveries in progress are lost",
    )
}

pub(super) fn startup(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    probes(
        catalog,
        plan,
        |service| Some(("startup", service.startup.as_ref()?)),
        "no new instance becomes ready, and the next deployment fails",
    )
}

fn probes(
    catalog: &Catalog,
    plan: &Plan,
    probe: fn(&CloudRunService) -> Option<(&'static str, &Probe)>,
    consequence: &'static str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in deployed(catalog, plan) {
        let Some((kind, Probe { path, port })) = probe(service) else { continue };
        let name = &service.name;
        if path != PROBED {
            findings.push(Finding::new(
                format!("the {kind} probe of {name} calls {path}"),
                consequence,
                format!("probe {PROBED}, which every service answers"),
            ));
        }
        if let (Some(probed), Some(served)) = (*port, service.port)
            && probed != served
        {
            findings.push(Finding::new(
                format!("the {kind} probe of {name} calls the port {probed}, not {served}"),
                consequence,
                "probe the container_port, or remove the port of the probe",
            ));
        }
    }
    findings
}
