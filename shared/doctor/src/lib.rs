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
    plan::{Kind, Plan},
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
    /// What the plan or state cannot show.
    note: &'static str,
}

impl Report {
    /// Whether there is no finding, except warnings.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|(_, finding)| finding.is_warning)
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
    let mut checked = format!("the catalog ({})", counted(catalog));
    let mut note = "";
    if let Some((name, json)) = plan {
        let plan = Plan::read(json, catalog).map_err(|error| format!("{name} cannot be checked: {error}"))?;
        let expected = plan.expected(catalog);
        for check in PLAN_CHECKS {
            findings.extend((check.run)(&expected, &plan).into_iter().map(|finding| (check.name, finding)));
        }
        let kind = match plan.kind {
            Kind::Plan => "a plan",
            Kind::State => "a state",
            Kind::RefreshedState => "a refreshed state",
        };
        checked += &format!(" and {name} ({kind}, {})", counted(&expected));
        if plan.kind == Kind::State {
            note = STALE;
        }
    }
    Ok(Report { findings, checked, note })
}

/// The note on every state.
const STALE: &str = "A state shows the deployment as Terraform last saw it, and hides later changes by hand. \
    To check the deployment as it is now: scripts/doctor PROJECT, or the output of terraform plan -refresh-only.";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, Finding { problem, consequence, remedy, is_warning }) in &self.findings {
            let mark = if *is_warning { "warning: " } else { "" };
            writeln!(f, "{check}: {mark}{problem}\n    why: {consequence}\n    do:  {remedy}\n")?;
        }
        let warnings = self.findings.iter().filter(|(_, finding)| finding.is_warning).count();
        let findings = match self.findings.len() - warnings {
            0 => "no findings".to_owned(),
            many => count(many, "finding"),
        };
        let warnings =
            if warnings == 0 { String::new() } else { ", ".to_owned() + &count(warnings, "warning") };
        writeln!(f, "Checked {}: {findings}{warnings}.", self.checked)?;
        if self.note.is_empty() { Ok(()) } else { writeln!(f, "{}", self.note) }
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn counted(catalog: &Catalog) -> String {
    let subscriptions = catalog.services.iter().map(|service| service.subscriptions.len()).sum::<usize>();
    let services = count(catalog.services.len(), "service");
    let topics = count(catalog.topics.len(), "topic");
    [services, topics, count(subscriptions, "subscription")].join(", ")
}
