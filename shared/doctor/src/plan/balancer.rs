//! The parts of a load balancer: an address leads to a proxy, a URL map, a backend, and an endpoint group.

use super::{super::terraform::Resource, read::Reader};

pub(crate) struct Balancer {
    pub(crate) groups: Vec<EndpointGroup>,
    pub(crate) backends: Vec<Backend>,
    pub(crate) url_maps: Vec<UrlMap>,
    pub(crate) proxies: Vec<Proxy>,
    /// The proxies of the addresses that listen on port 443. `None` stands for a proxy that the plan does not know.
    pub(crate) entries: Vec<Option<String>>,
    /// The domains of the certificates.
    pub(crate) certified: Vec<String>,
}

pub(crate) struct EndpointGroup {
    pub(crate) name: String,
    /// The Cloud Run service.
    pub(crate) service: String,
    pub(crate) region: Option<String>,
}

pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) group: Option<String>,
}

pub(crate) struct UrlMap {
    pub(crate) name: String,
    pub(crate) hosts: Vec<String>,
    /// Paths, and the backend that gets their requests.
    pub(crate) rules: Vec<(Vec<String>, Option<String>)>,
}

pub(crate) struct Proxy {
    pub(crate) name: String,
    pub(crate) url_map: Option<String>,
}

impl Balancer {
    /// Whether an endpoint group calls the service.
    pub(crate) fn calls(&self, service: &str) -> bool {
        self.groups.iter().any(|group| group.service == service)
    }

    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let of_kind = |kind| reader.document.of_kind(kind);
        let name = |resource: &Resource| resource.text("/name").unwrap_or_default().to_owned();
        let group = |resource: &Resource| {
            let service = resource.text("/cloud_run/0/service")?.to_owned();
            Some(EndpointGroup {
                name: name(resource),
                service,
                region: resource.text("/region").map(str::to_owned),
            })
        };
        let url_map = |resource: &Resource| {
            let rules = resource.list("/path_matcher").iter().enumerate().flat_map(|(matcher, block)| {
                let rules = block["path_rule"].as_array().map_or(0, Vec::len);
                (0..rules).map(move |rule| format!("/path_matcher/{matcher}/path_rule/{rule}"))
            });
            let hosts = (0..resource.list("/host_rule").len()).map(|rule| format!("/host_rule/{rule}/hosts"));
            UrlMap {
                name: name(resource),
                hosts: hosts.flat_map(|path| resource.texts(&path)).collect(),
                rules: rules
                    .map(|rule| {
                        let backend = reader.name(resource, &format!("{rule}/service"));
                        (resource.texts(&format!("{rule}/paths")), backend)
                    })
                    .collect(),
            }
        };
        let is_https =
            |resource: &&Resource| resource.text("/port_range").is_some_and(|port| port.starts_with("443"));
        Self {
            groups: of_kind("google_compute_region_network_endpoint_group").filter_map(group).collect(),
            backends: of_kind("google_compute_backend_service")
                .map(|each| Backend { name: name(each), group: reader.name(each, "/backend/0/group") })
                .collect(),
            url_maps: of_kind("google_compute_url_map").map(url_map).collect(),
            proxies: of_kind("google_compute_target_https_proxy")
                .map(|each| Proxy { name: name(each), url_map: reader.name(each, "/url_map") })
                .collect(),
            entries: of_kind("google_compute_global_forwarding_rule")
                .filter(is_https)
                .map(|each| reader.name(each, "/target"))
                .collect(),
            certified: of_kind("google_compute_managed_ssl_certificate")
                .flat_map(|each| each.texts("/managed/0/domains"))
                .collect(),
        }
    }
}
