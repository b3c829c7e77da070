//! The catalog as JSON, and everything in the repository that is made from it.

use std::{fs, path::Path};

use clap::Args;
use pushbox::Catalog;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::systems;

#[derive(Args)]
pub(crate) struct Options {
    /// Writes terraform/catalog.json and the diagrams and tables of the documents, in this folder
    #[arg(long)]
    write: bool,
    /// Fails if one of them is not what --write would write
    #[arg(long, conflicts_with = "write")]
    check: bool,
}

/// The documents that have parts between `<!-- catalog: … -->` and `<!-- /catalog -->`.
const DOCUMENTS: [&str; 2] = ["README.md", "ARCHITECTURE.md"];

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let catalog = systems::catalog()?;
    if !options.write && !options.check {
        print!("{}", json(&catalog)?);
        return Ok(());
    }
    let mut drifted = Vec::new();
    for (path, content) in files(&catalog)? {
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
        (true, false) => {
            println!("wrote {}", drifted.join(", "));
            Ok(())
        }
        (_, true) => Ok(()),
    }
}

fn json(value: &impl Serialize) -> Result<String, String> {
    let json = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(json + "\n")
}

/// Every file that the catalog determines, with what it should hold.
fn files(catalog: &Catalog) -> Result<Vec<(String, String)>, String> {
    let mut files = vec![
        ("terraform/catalog.json".to_owned(), json(catalog)?),
        ("terraform/service_urls.tf.json".to_owned(), json(&service_urls(catalog))?),
    ];
    for document in DOCUMENTS.iter().filter(|path| Path::new(path).exists()) {
        let text =
            fs::read_to_string(document).map_err(|error| format!("cannot read {document}: {error}"))?;
        files.push(((*document).to_owned(), fill(&text, catalog)?));
    }
    Ok(files)
}

/// Terraform's outputs cannot be made in a loop, so each service has its own here.
fn service_urls(catalog: &Catalog) -> Value {
    let output = |service: &pushbox::ServiceEntry| {
        let name = &service.name;
        let url = json!({
            "description": format!("The URL of {name}."),
            "value": format!("${{lookup(local.urls, \"{name}\", null)}}"),
        });
        (name.replace('-', "_") + "_url", url)
    };
    json!({ "output": catalog.services.iter().map(output).collect::<Map<_, _>>() })
}

/// Replaces what stands between the markers.
fn fill(text: &str, catalog: &Catalog) -> Result<String, String> {
    const BEGIN: &str = "<!-- catalog: ";
    const END: &str = "<!-- /catalog -->";
    let mut parts = text.split(BEGIN);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (marker, rest) = part.split_once(" -->\n").ok_or("a catalog marker does not end")?;
        let (_, after) = rest.split_once(END).ok_or_else(|| format!("{marker}: there is no {END}"))?;
        let made = match marker.split_once(' ') {
            Some(("diagram", system)) => format!("```mermaid\n{}```\n", catalog.diagram(system)),
            Some(("table", system)) => catalog.table(system),
            _ => return Err(format!("unknown catalog marker: {marker}")),
        };
        filled += &format!("{BEGIN}{marker} -->\n{made}{END}{after}");
    }
    Ok(filled)
}
