//! The load balancer of a domain: whether requests to the public services arrive.

use std::collections::BTreeSet;

use ::catalog::Catalog;

use super::Finding;
use crate::plan::{CloudRunService, Plan, UrlMap};

const CONSEQUENCE: &str = "customers get an error of the load balancer, and the service sees no request";

pub(super) fn domain(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut maps: BTreeSet<&str> = BTreeSet::new();
    for entry in catalog.services.iter().filter(|entry| entry.public) {
        let Some(service) = plan.service(&entry.name) else { continue };
        // `ingress` reports a service that no endpoint group calls.
        if !service.needs_load_balancer || !plan.balancer.calls(&entry.name) {
            continue;
        }
        let backends = backends(plan, service);
        if backends.is_empty() {
            findings.push(Finding::new(
                format!("no backend of the load balancer calls {} in its region", entry.name),
                CONSEQUENCE,
                "add a google_compute_backend_service with its endpoint group, in the region of the service",
            ));
            continue;
        }
        let paths = entry.routes.iter().filter_map(|route| route.split_once(" /"));
        let segments: BTreeSet<&str> = paths.filter_map(|(_, path)| path.split('/').next()).collect();
        for segment in segments {
            let map = plan.balancer.url_maps.iter().find(|map| map.forwards(segment, &backends));
            maps.extend(map.map(|map| map.name.as_str()));
            if map.is_none() {
                findings.push(Finding::new(
                    format!("the load balancer does not forward /{segment} to {}", entry.name),
                    CONSEQUENCE,
                    format!("add a path_rule for /{segment} and /{segment}/* to the google_compute_url_map"),
                ));
            }
        }
    }
    for map in plan.balancer.url_maps.iter().filter(|map| maps.contains(map.name.as_str())) {
        findings.extend(entrance(plan, map));
    }
    findings
}

/// The names of the backends that call a service.
fn backends<'a>(plan: &'a Plan, service: &CloudRunService) -> Vec<&'a str> {
    let is_near = |region: &Option<String>| {
        region.is_none() || service.location.is_none() || *region == service.location
    };
    let groups = plan.balancer.groups.iter();
    let groups: Vec<&str> = groups
        .filter(|group| group.service == service.name && is_near(&group.region))
        .map(|group| group.name.as_str())
        .collect();
    let backends = plan.balancer.backends.iter();
    backends
        .filter(|backend| backend.group.as_deref().is_none_or(|group| groups.contains(&group)))
        .map(|backend| backend.name.as_str())
        .collect()
}

impl UrlMap {
    fn forwards(&self, segment: &str, backends: &[&str]) -> bool {
        let wanted = [format!("/{segment}"), format!("/{segment}/*")];
        let everything = "/*".to_owned();
        self.rules.iter().any(|(paths, backend)| {
            backend.as_deref().is_none_or(|backend| backends.contains(&backend))
                && (paths.contains(&everything) || wanted.iter().all(|path| paths.contains(path)))
        })
    }
}

/// Whether HTTPS requests for its hosts get to a URL map.
fn entrance(plan: &Plan, map: &UrlMap) -> Vec<Finding> {
    let proxies = plan.balancer.proxies.iter();
    let proxies: Vec<&str> = proxies
        .filter(|proxy| proxy.url_map.as_ref().is_none_or(|name| *name == map.name))
        .map(|proxy| proxy.name.as_str())
        .collect();
    let is_entry = |proxy: &Option<String>| proxy.as_deref().is_none_or(|name| proxies.contains(&name));
    let mut findings = Vec::new();
    if proxies.is_empty() || !plan.balancer.entries.iter().any(is_entry) {
        findings.push(Finding::new(
            format!("no address with HTTPS leads to the URL map {}", map.name),
            CONSEQUENCE,
            "add a google_compute_target_https_proxy for it, and a google_compute_global_forwarding_rule for port 443",
        ));
    }
    let uncertified = map.hosts.iter().find(|host| !plan.balancer.certified.contains(host));
    findings.extend(uncertified.map(|host| {
        // The certificate can come from somewhere else.
        Finding::warning(
            format!("no managed certificate is for {host}"),
            "browsers refuse the connection, unless another certificate is for this domain",
            "add it to the domains of a google_compute_managed_ssl_certificate",
        )
    }));
    findings
}
