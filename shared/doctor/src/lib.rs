//! The doctor: finds faults that silently break event systems, such as a missing grant, a dead-letter
//! topic without a subscription, or an event that no service handles. Such a fault fails no deployment,
//! and no log mentions it.
//!
//! It checks the catalog and, if given, a Terraform plan or state. [`examine`] returns a [`Report`].

mod checks;
mod plan;
mod terraform;

use std::fmt;

use catalog::Catalog;

use self::{
    checks::{CATALOG_CHECKS, Finding, PLAN_CHECKS},
    plan::Plan,
};

/// The name of each check, and its description: the end of the sentence "It finds …".
pub fn checks() -> impl Iterator<Item = (&'static str, &'static str)> {
    let catalog_checks = CATALOG_CHECKS.iter().map(|check| (check.name, check.description));
    catalog_checks.chain(PLAN_CHECKS.iter().map(|check| (check.name, check.description)))
}

/// The findings. [`Display`](fmt::Display) prints them for people.
pub struct Report {
    /// Each with the name of its check.
    findings: Vec<(&'static str, Finding)>,
    checked: String,
}

impl Report {
    /// Whether there is no finding.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks a catalog and, if given, a plan or a state: its name, and the output of `terraform show -json`.
///
/// # Errors
/// If the plan cannot be read.
pub fn examine(catalog: &Catalog, plan: Option<(&str, &str)>) -> Result<Report, String> {
    let mut findings = Vec::new();
    for check in CATALOG_CHECKS {
        findings.extend((check.run)(catalog).into_iter().map(|finding| (check.name, finding)));
    }
    let mut checked = format!("the catalog ({})", count(catalog));
    if let Some((name, json)) = plan {
        let plan = Plan::read(json, catalog).map_err(|error| format!("{name} cannot be checked: {error}"))?;
        let expected = plan.expected(catalog);
        for check in PLAN_CHECKS {
            findings.extend((check.run)(&expected, &plan).into_iter().map(|finding| (check.name, finding)));
        }
        checked += &format!(" and {name} ({}, {})", plan.kind, count(&expected));
    }
    Ok(Report { findings, checked })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, Finding { problem, consequence, remedy }) in &self.findings {
            writeln!(f, "{check}: {problem}\n    why: {consequence}\n    do:  {remedy}\n")?;
        }
        let checked = &self.checked;
        match self.findings.len() {
            0 => writeln!(f, "Checked {checked}: no findings."),
            1 => writeln!(f, "Checked {checked}: 1 finding."),
            many => writeln!(f, "Checked {checked}: {many} findings."),
        }
    }
}

fn count(catalog: &Catalog) -> String {
    let subscriptions = catalog.services.iter().map(|service| service.subscriptions.len()).sum::<usize>();
    let counts = [
        (catalog.services.len(), "service"),
        (catalog.topics.len(), "topic"),
        (subscriptions, "subscription"),
    ];
    let count = |(count, noun): (usize, &str)| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    counts.map(count).join(", ")
}
