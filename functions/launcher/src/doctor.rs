//! `functions doctor`: checks the catalog, and a Terraform plan or state.

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    systems,
    terminal::{print, tell},
};

#[derive(Args)]
pub(crate) struct Options {
    /// A file with the output of `terraform show -json`, for a plan or a state; - reads stdin
    plan: Option<PathBuf>,
    /// A file with the output of `functions catalog`, to check instead of this binary's own catalog
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Lists the checks without running them
    #[arg(long)]
    list: bool,
}

/// The exit code is 0 without findings, 1 with findings, and 2 if the input cannot be read.
pub(crate) fn run(options: &Options) -> ExitCode {
    let printed = if options.list {
        let lines = doctor::checks().map(|(name, description)| format!("{name:24}{description}\n"));
        print(&lines.collect::<String>()).map(|()| ExitCode::SUCCESS)
    } else {
        examine(options).and_then(|report| {
            print(&report.to_string())?;
            Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    };
    printed.unwrap_or_else(|message| {
        tell(&format!("functions: {message}\n"));
        ExitCode::from(2)
    })
}

fn examine(options: &Options) -> Result<doctor::Report, String> {
    let catalog = match &options.catalog {
        Some(path) => serde_json::from_str(&read(path)?)
            .map_err(|error| format!("{} is not a catalog: {error}", path.display()))?,
        None => systems::catalog()?,
    };
    match &options.plan {
        Some(path) => doctor::examine(&catalog, Some((&path.display().to_string(), &read(path)?))),
        None => doctor::examine(&catalog, None),
    }
}

fn read(path: &PathBuf) -> Result<String, String> {
    let text =
        if path.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    text.map_err(|error| format!("cannot read {}: {error}", path.display()))
}
