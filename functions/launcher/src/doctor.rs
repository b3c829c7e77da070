//! Looks for what silently breaks event systems: a grant that is missing, a dead letter that nothing
//! holds, an event that nobody handles. Nothing of it fails a deployment, and no log mentions it.

mod checks;
mod plan;
mod terraform;

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::Args;
use pushbox::Catalog;

use self::{
    checks::{Finding, OF_CATALOG, OF_PLAN},
    plan::Plan,
};
use crate::systems;

#[derive(Args)]
pub(crate) struct Options {
    /// What `terraform show -json` prints, of a plan or of a state; - reads it from stdin
    plan: Option<PathBuf>,
    /// Another catalog than the one of this binary: what `functions catalog` prints
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Prints what is looked for, and looks for nothing
    #[arg(long)]
    list: bool,
}

/// 0: there is nothing to find. 1: there is. 2: the input cannot be read.
pub(crate) fn run(options: &Options) -> ExitCode {
    if options.list {
        let of_catalog = OF_CATALOG.iter().map(|check| (check.name, check.finds));
        let of_plan = OF_PLAN.iter().map(|check| (check.name, check.finds));
        of_catalog.chain(of_plan).for_each(|(name, finds)| println!("{name:24}{finds}"));
        return ExitCode::SUCCESS;
    }
    match examine(options) {
        Ok((findings, checked)) => report(&findings, &checked),
        Err(message) => {
            eprintln!("functions: {message}");
            ExitCode::from(2)
        }
    }
}

/// A finding with the name of its check.
type Named = (&'static str, Finding);

fn examine(options: &Options) -> Result<(Vec<Named>, String), String> {
    let catalog = match &options.catalog {
        Some(path) => serde_json::from_str(&read(path)?)
            .map_err(|error| format!("{} is not a catalog: {error}", path.display()))?,
        None => systems::catalog()?,
    };
    let mut findings: Vec<Named> = Vec::new();
    for check in OF_CATALOG {
        findings.extend((check.run)(&catalog).into_iter().map(|finding| (check.name, finding)));
    }
    let mut checked = format!("the catalog ({})", count(&catalog));
    if let Some(path) = &options.plan {
        let plan = Plan::read(&read(path)?, &catalog)
            .map_err(|error| format!("{} cannot be checked: {error}", path.display()))?;
        let expected = plan.expected(&catalog);
        for check in OF_PLAN {
            findings.extend((check.run)(&expected, &plan).into_iter().map(|finding| (check.name, finding)));
        }
        checked += &format!(" and {} ({}, {})", path.display(), plan.kind, count(&expected));
    }
    Ok((findings, checked))
}

fn report(findings: &[Named], checked: &str) -> ExitCode {
    for (check, Finding { what, why, remedy }) in findings {
        println!("{check}: {what}\n    why: {why}\n    do:  {remedy}\n");
    }
    match findings.len() {
        0 => {
            println!("Checked {checked}: nothing to find.");
            return ExitCode::SUCCESS;
        }
        1 => println!("Checked {checked}: 1 finding."),
        many => println!("Checked {checked}: {many} findings."),
    }
    ExitCode::FAILURE
}

fn read(path: &PathBuf) -> Result<String, String> {
    let text =
        if path.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    text.map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn count(catalog: &Catalog) -> String {
    let subscriptions = catalog.services.iter().map(|service| service.subscriptions.len()).sum::<usize>();
    let counts = [
        (catalog.services.len(), "service"),
        (catalog.topics.len(), "topic"),
        (subscriptions, "subscription"),
    ];
    let count = |(count, what): (usize, &str)| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    counts.map(count).join(", ")
}
