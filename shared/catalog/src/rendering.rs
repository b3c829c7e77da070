//! The files of the repository that are generated from the catalog.

use std::{fs, path::Path};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Catalog, ServiceEntry};

/// The document with generated parts between `<!-- catalog: … -->` and `<!-- /catalog -->`.
const DOCUMENT: &str = "README.md";

/// The JSON form for files and for the terminal: indented, with a newline at the end.
///
/// # Errors
/// If the value has no JSON form.
pub fn json(value: &impl Serialize) -> Result<String, String> {
    let json = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(json + "\n")
}

/// The path and the content of every generated file. Paths are relative to the current directory, which must
/// be the root of the repository.
///
/// # Errors
/// If the document cannot be read, or a marker in it is malformed.
pub fn files(catalog: &Catalog) -> Result<Vec<(String, String)>, String> {
    let mut files = vec![
        ("terraform/catalog.json".to_owned(), json(catalog)?),
        ("terraform/service_urls.tf.json".to_owned(), json(&service_urls(catalog))?),
    ];
    if Path::new(DOCUMENT).exists() {
        let text =
            fs::read_to_string(DOCUMENT).map_err(|error| format!("cannot read {DOCUMENT}: {error}"))?;
        files.push((DOCUMENT.to_owned(), fill(&text, catalog)?));
    }
    Ok(files)
}

/// One output for each service, because Terraform cannot create outputs in a loop.
fn service_urls(catalog: &Catalog) -> Value {
    let output = |service: &ServiceEntry| {
        let name = &service.name;
        let url = json!({
            "description": format!("The URL of {name}."),
            "value": format!("${{lookup(local.urls, \"{name}\", null)}}"),
        });
        (name.replace('-', "_") + "_url", url)
    };
    json!({ "output": catalog.services.iter().map(output).collect::<Map<_, _>>() })
}

/// Replaces the text between the markers with generated text.
fn fill(text: &str, catalog: &Catalog) -> Result<String, String> {
    const BEGIN: &str = "<!-- catalog: ";
    const END: &str = "<!-- /catalog -->";
    let mut parts = text.split(BEGIN);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (marker, rest) = part.split_once(" -->\n").ok_or("a catalog marker does not end")?;
        let (_, after) = rest.split_once(END).ok_or_else(|| format!("{marker}: {END} is missing"))?;
        let generated = match marker.split_once(' ') {
            Some(("diagram", system)) => format!("```mermaid\n{}```\n", diagram(catalog, system)),
            Some(("events", system)) => events(catalog, system),
            Some(("services", system)) => services(catalog, system),
            _ => return Err(format!("unknown catalog marker: {marker}")),
        };
        filled += &format!("{BEGIN}{marker} -->\n{generated}{END}{after}");
    }
    Ok(filled)
}

/// The flow of events, as a [Mermaid](https://mermaid.js.org) diagram. Delayed events have dotted edges.
fn diagram(catalog: &Catalog, system: &str) -> String {
    let mut lines = vec!["flowchart LR".to_owned()];
    for service in members(catalog, system) {
        let (open, close) = if service.public { ("([", "])") } else { ("[", "]") };
        lines.push(format!("    {0}{open}{0}{close}", service.name));
    }
    for event in &catalog.events {
        for publisher in names_in_system(catalog, system, &event.published_by) {
            for handler in names_in_system(catalog, system, &event.handled_by) {
                let arrow = if event.delayed { "-." } else { "--" };
                let head = if event.delayed { ".->" } else { "-->" };
                lines.push(format!("    {publisher} {arrow} {} {head} {handler}", event.r#type));
            }
        }
    }
    lines.join("\n") + "\n"
}

/// The publishers and the handlers of each event, as a Markdown table.
fn events(catalog: &Catalog, system: &str) -> String {
    let mut lines =
        vec!["| event | topic | published by | handled by |".to_owned(), "|---|---|---|---|".to_owned()];
    for event in &catalog.events {
        let names = |services: &[String]| names_in_system(catalog, system, services).join(", ");
        let (published_by, handled_by) = (names(&event.published_by), names(&event.handled_by));
        if !published_by.is_empty() || !handled_by.is_empty() {
            let delayed = if event.delayed { " (delayed)" } else { "" };
            let name = &event.r#type;
            let line = format!("| `{name}`{delayed} | `{}` | {published_by} | {handled_by} |", event.topic);
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

/// Each service with its routes, as a Markdown table.
fn services(catalog: &Catalog, system: &str) -> String {
    let mut lines = vec!["| service | does | own routes |".to_owned(), "|---|---|---|".to_owned()];
    for ServiceEntry { name, about, public, routes, .. } in members(catalog, system) {
        let public = if *public { " (public)" } else { "" };
        let routes: Vec<String> = routes.iter().map(|route| format!("`{route}`")).collect();
        lines.push(format!("| {name}{public} | {about} | {} |", routes.join(", ")));
    }
    lines.join("\n") + "\n"
}

fn members<'a>(catalog: &'a Catalog, system: &str) -> impl Iterator<Item = &'a ServiceEntry> {
    catalog.services.iter().filter(move |service| service.system == system)
}

fn names_in_system<'a>(catalog: &Catalog, system: &str, names: &'a [String]) -> Vec<&'a str> {
    let is_member = |name: &&String| members(catalog, system).any(|service| service.name == **name);
    names.iter().filter(is_member).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use events::UserCreated;
    use pushbox::{Context, Failure, Service, System};

    use super::*;

    #[test]
    fn diagrams_and_tables_mark_delayed_events() {
        let handle = async |_: UserCreated, _: Context| Ok::<_, Failure>(());
        for (publisher, edge, mark) in [
            (Service::new("a", "publishes").publishes::<UserCreated>(), "a -- user.created --> b", ""),
            (Service::new("a", "delays").delays::<UserCreated>(), "a -. user.created .-> b", " (delayed)"),
        ] {
            let services = vec![publisher, Service::new("b", "handles").on(handle)];
            let catalog = Catalog::of(&[System { name: "signup", services }]);
            let (diagram, table) = (diagram(&catalog, "signup"), events(&catalog, "signup"));
            assert!(diagram.contains(edge), "{diagram}");
            assert!(table.contains(&format!("| `user.created`{mark} | `user-events` | a | b |")), "{table}");
        }
    }
}
