//! `functions catalog`: prints the catalog, or updates the files that are generated from it.

use std::fs;

use clap::Args;

use crate::{systems, terminal::print};

#[derive(Args)]
pub(crate) struct Options {
    /// Updates terraform/catalog.json and the other generated files; run it in the repository's root
    #[arg(long)]
    write: bool,
    /// Fails if --write would change a file
    #[arg(long, conflicts_with = "write")]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let catalog = systems::catalog()?;
    if !options.write && !options.check {
        return print(&catalog::json(&catalog)?);
    }
    let mut drifted = Vec::new();
    for (path, content) in catalog::files(&catalog)? {
        if fs::read_to_string(&path).ok().as_ref() != Some(&content) {
            if options.write {
                fs::write(&path, content).map_err(|error| format!("cannot write {path}: {error}"))?;
            }
            drifted.push(path);
        }
    }
    match (options.write, drifted.is_empty()) {
        (false, false) => {
            Err(format!("{} drifted from the code; run: functions catalog --write", drifted.join(", ")))
        }
        (true, false) => print(&format!("wrote {}\n", drifted.join(", "))),
        (_, true) => Ok(()),
    }
}
