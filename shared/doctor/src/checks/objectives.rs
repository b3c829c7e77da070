//! Service level objectives: whether they measure the errors of the public services.

use ::catalog::Catalog;

use super::Finding;
use crate::plan::{Filter, Plan, Slo};

const SERVICE: &str = "resource.labels.service_name";
const RESPONSE: &str = "metric.labels.response_code_class";
/// Below the first goal, 14.4 times the error budget is more than all requests. Above the second, one error is too many.
const GOALS: (f64, f64) = (0.94, 0.9999);

impl Slo {
    /// Whether it measures all requests of this service, and no others.
    pub(super) fn measures(&self, service: &str) -> bool {
        let is_requests = |filter: &Filter| {
            let has = |label, value| filter.clause(label).is_some_and(|clause| clause.passes(value));
            has("metric.type", "run.googleapis.com/request_count")
                && has(SERVICE, service)
                && filter.clause(RESPONSE).is_none()
        };
        self.total.as_ref().is_some_and(is_requests)
    }

    /// Whether its bad requests are those of the total that failed with 5xx.
    fn counts_errors(&self) -> bool {
        let (Some(total), Some(bad)) = (&self.total, &self.bad) else { return false };
        let rest = || bad.clauses.iter().filter(|clause| clause.label != RESPONSE);
        bad.clause(RESPONSE).is_some_and(|clause| clause.passes("5xx") && !clause.passes("2xx"))
            && rest().count() == total.clauses.len()
            && rest().all(|clause| total.clauses.iter().any(|other| other.equals(clause)))
    }
}

pub(super) fn objectives(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    const CONSEQUENCE: &str = "the alerts on its error budget do not fire when its requests fail";
    let mut findings = Vec::new();
    let services = catalog.services.iter().filter(|service| service.public);
    for service in services.filter_map(|service| plan.service(&service.name)) {
        let name = &service.name;
        let slos = || plan.slos.iter().filter(|slo| slo.measures(name));
        let Some(slo) = slos().find(|slo| slo.counts_errors()).or_else(|| slos().next()) else {
            findings.push(Finding::new(
                format!("no SLO measures the requests of {name}"),
                CONSEQUENCE,
                format!(
                    "add a google_monitoring_slo whose total_service_filter passes all requests of {name}"
                ),
            ));
            continue;
        };
        if !slo.counts_errors() {
            findings.push(Finding::new(
                format!("{} does not count the requests of {name} that fail", slo.address),
                CONSEQUENCE,
                format!("use the total_service_filter as bad_service_filter, with {RESPONSE} = \"5xx\""),
            ));
        }
        let (lowest, highest) = GOALS;
        if !(lowest..=highest).contains(&slo.goal) {
            let finding = Finding::new(
                format!("the goal of {} is {}", slo.address, slo.goal),
                "the alerts on the error budget never fire, or at each error",
                format!("set the variable availability_goal to a value from {lowest} to {highest}"),
            );
            findings.push(Finding { is_warning: slo.goal > highest, ..finding });
        }
    }
    findings
}
