//! Converts Terraform's resources to the parts of a plan.

use std::collections::BTreeMap;

use catalog::Catalog;
use serde_json::Value;

use super::{
    super::terraform::{Document, Resource, seconds},
    Aggregation, Alert, CloudRunService, Condition, Database, DeadLetters, Delivery, Field, Filter, Job,
    Probe, Queue, Slo, Subscription, Token, Topic, UptimeCheck, Wrapping,
};

/// The defaults of Pub/Sub and Cloud Run for absent settings.
mod default {
    pub(super) const ACK_DEADLINE_SECONDS: u64 = 10;
    pub(super) const RETENTION_SECONDS: u64 = 7 * 24 * 60 * 60;
    pub(super) const MAX_DELIVERY_ATTEMPTS: u64 = 5;
    pub(super) const BACKOFF_SECONDS: (u64, u64) = (10, 600);
    /// The attempts of a task in Cloud Tasks.
    pub(super) const MAX_TASK_ATTEMPTS: i64 = 100;
    /// Cloud Run's request timeout.
    pub(super) const TIMEOUT_SECONDS: u64 = 300;
}

pub(super) struct Reader<'a> {
    pub(super) document: &'a Document,
    pub(super) catalog: &'a Catalog,
}

impl Reader<'_> {
    /// The name in a value, even if the value is known only after the apply.
    pub(super) fn name(&self, resource: &Resource, pointer: &str) -> Option<String> {
        if let Some(known) = resource.text(pointer) {
            return Some(last_segment(known));
        }
        let source = self.source(resource, pointer)?;
        match source.kind.as_str() {
            "google_service_account" => source.account(),
            "google_cloud_tasks_queue" => Some(queue(source).name),
            _ => source.text("/name").map(last_segment),
        }
    }

    pub(super) fn source(&self, resource: &Resource, pointer: &str) -> Option<&Resource> {
        self.document.source_of(resource, pointer, |key, field| each_value(self.catalog, key, field))
    }

    pub(super) fn subscription(&self, resource: &Resource, services: &[CloudRunService]) -> Subscription {
        let (min, max) = default::BACKOFF_SECONDS;
        let backoff = |_: &Value| {
            let seconds = |name: &str| resource.seconds(&format!("/retry_policy/0/{name}_backoff"));
            (seconds("minimum").unwrap_or(min), seconds("maximum").unwrap_or(max))
        };
        let dead_letters = |_: &Value| DeadLetters {
            topic: self.name(resource, "/dead_letter_policy/0/dead_letter_topic"),
            max_delivery_attempts: resource
                .number("/dead_letter_policy/0/max_delivery_attempts")
                .unwrap_or(default::MAX_DELIVERY_ATTEMPTS),
        };
        let push = |_: &Value| {
            self.delivery(resource, "/push_config/0/push_endpoint", "/push_config/0/oidc_token", services)
        };
        Subscription {
            name: name(resource),
            topic: self.name(resource, "/topic"),
            filter: resource.text("/filter").unwrap_or_default().to_owned(),
            ack_deadline_seconds: resource
                .number("/ack_deadline_seconds")
                .unwrap_or(default::ACK_DEADLINE_SECONDS),
            retention_seconds: resource
                .seconds("/message_retention_duration")
                .unwrap_or(default::RETENTION_SECONDS),
            // With an empty TTL, the subscription never expires. Without a TTL, it expires after 31 days.
            expires: resource.text("/expiration_policy/0/ttl") != Some(""),
            transforms: transforms(resource),
            wrapping: match resource.list("/push_config/0/no_wrapper").first() {
                None => Wrapping::Wrapped,
                Some(form) if form["write_metadata"] == true => Wrapping::Headers,
                Some(_) => Wrapping::DataOnly,
            },
            push: resource.list("/push_config").first().map(push),
            exports: !resource.list("/bigquery_config").is_empty()
                || !resource.list("/cloud_storage_config").is_empty(),
            dead_letters: resource.list("/dead_letter_policy").first().map(dead_letters),
            backoff_seconds: resource.list("/retry_policy").first().map(backoff),
        }
    }

    pub(super) fn job(&self, resource: &Resource, services: &[CloudRunService]) -> Job {
        Job {
            name: name(resource),
            posts: resource.text("/http_target/0/http_method").is_none_or(|method| method == "POST"),
            paused: resource.is_true("/paused") || resource.text("/state") == Some("PAUSED"),
            schedule: resource.text("/schedule").unwrap_or_default().to_owned(),
            deadline_seconds: resource.seconds("/attempt_deadline"),
            delivery: self.delivery(resource, "/http_target/0/uri", "/http_target/0/oidc_token", services),
        }
    }

    pub(super) fn uptime_check(
        &self,
        resource: &Resource,
        services: &[CloudRunService],
    ) -> Option<UptimeCheck> {
        const LABELS: &str = "/monitored_resource/0/labels";
        let service = match resource.text(&format!("{LABELS}/host")) {
            Some(host) => {
                let is_host = |url: &String| url.strip_prefix("https://") == Some(host);
                // Behind a load balancer, all services have the host of its domain.
                let is_key = |service: &&CloudRunService| {
                    service.needs_load_balancer && service.serves.as_deref() == resource.index()
                };
                let by_host = services.iter().find(|service| service.urls.iter().any(is_host));
                by_host.or_else(|| services.iter().find(is_key))?.name.clone()
            }
            None => self.name(resource, LABELS)?,
        };
        Some(UptimeCheck {
            address: resource.address().to_owned(),
            key: resource.index().map(str::to_owned),
            service,
            id: resource.text("/uptime_check_id").map(str::to_owned),
        })
    }

    fn delivery(
        &self,
        resource: &Resource,
        url: &str,
        token: &str,
        services: &[CloudRunService],
    ) -> Delivery {
        let (service, path) = match resource.text(url) {
            Some(url) => services
                .iter()
                .flat_map(|service| service.urls.iter().map(move |base| (service, base)))
                .find_map(|(service, base)| Some((&service.name, url.strip_prefix(base.as_str())?)))
                .filter(|(_, path)| path.is_empty() || path.starts_with('/'))
                .map_or((None, Some(url.to_owned())), |(name, path)| {
                    (Some(name.clone()), Some(if path.is_empty() { "/" } else { path }.to_owned()))
                }),
            None => (self.name(resource, url), None),
        };
        let token_of = |_: &Value| Token {
            account: self.name(resource, &format!("{token}/0/service_account_email")),
            audience: resource.text(&format!("{token}/0/audience")).map(str::to_owned),
        };
        Delivery { service, path, token: resource.list(token).first().map(token_of) }
    }
}

/// Removes the resources that are not in the project of the services, and returns their addresses and projects.
pub(super) fn remove_other_projects(document: &mut Document) -> Vec<(String, String)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for project in document.of_kind("google_cloud_run_v2_service").filter_map(|each| each.text("/project")) {
        *counts.entry(project).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(project, _)| project.to_owned());
    let given = document.variable("project_id").and_then(Value::as_str).map(str::to_owned);
    let Some(own) = given.or(most) else { return Vec::new() };
    let is_elsewhere = |resource: &Resource| {
        let project = resource.text("/project").map(|project| project.trim_start_matches("projects/"))?;
        (project != own).then(|| (resource.address().to_owned(), project.to_owned()))
    };
    let elsewhere = document.resources.iter().filter_map(is_elsewhere).collect();
    document.resources.retain(|resource| is_elsewhere(resource).is_none());
    elsewhere
}

pub(super) fn service(resource: &Resource) -> CloudRunService {
    const CONTAINER: &str = "/template/0/containers/0";
    let args = resource.texts(&format!("{CONTAINER}/args"));
    let env = |variable: &Value| {
        Some((
            variable["name"].as_str()?.to_owned(),
            variable["value"].as_str().unwrap_or_default().to_owned(),
        ))
    };
    let secret = |variable: &Value| {
        let secret = variable.pointer("/value_source/0/secret_key_ref/0/secret")?.as_str()?;
        Some((variable["name"].as_str()?.to_owned(), last_segment(secret)))
    };
    let variables = resource.list(&format!("{CONTAINER}/env"));
    let probe = |kind: &str| {
        let call = format!("{CONTAINER}/{kind}_probe/0/http_get/0");
        let path = resource.text(&format!("{call}/path"))?.to_owned();
        Some(Probe { path, port: resource.number(&format!("{call}/port")) })
    };
    CloudRunService {
        name: name(resource),
        location: resource.text("/location").map(str::to_owned),
        project: resource.text("/project").map(str::to_owned),
        serves: match args.as_slice() {
            [command, service, ..] if command == "serve" => Some(service.clone()),
            _ => None,
        },
        account: resource.text("/template/0/service_account").map(last_segment),
        timeout_seconds: resource.seconds("/template/0/timeout").unwrap_or(default::TIMEOUT_SECONDS),
        env: variables.iter().filter_map(env).collect(),
        secrets: variables.iter().filter_map(secret).collect(),
        custom_audiences: resource.texts("/custom_audiences"),
        urls: resource.text("/uri").map(str::to_owned).into_iter().chain(resource.texts("/urls")).collect(),
        is_open: resource.is_true("/invoker_iam_disabled"),
        is_reachable: resource.text("/ingress").is_none_or(|ingress| ingress == "INGRESS_TRAFFIC_ALL"),
        needs_load_balancer: resource.text("/ingress") == Some("INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
        has_no_url: resource.is_true("/default_uri_disabled"),
        is_stopped: resource.number("/scaling/0/manual_instance_count") == Some(0)
            && resource.text("/scaling/0/scaling_mode") == Some("MANUAL"),
        startup: probe("startup"),
        liveness: probe("liveness"),
        port: resource.number(&format!("{CONTAINER}/ports/0/container_port")),
        uses_network: resource.text("/template/0/vpc_access/0/egress") == Some("ALL_TRAFFIC"),
        newest_percent: newest_percent(resource.list("/traffic")),
    }
}

/// Without a list, all traffic goes to the newest revision.
fn newest_percent(traffic: &[Value]) -> u64 {
    const NEWEST: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
    if traffic.is_empty() {
        return 100;
    }
    traffic.iter().filter(|share| share["type"] == NEWEST).filter_map(|share| share["percent"].as_u64()).sum()
}

/// A plan declares the shares of older revisions. The newest one gets the rest.
pub(super) fn newest_shares(document: &Document) -> BTreeMap<String, u64> {
    let Some(Value::Object(services)) = document.variable("older_shares") else { return BTreeMap::new() };
    let rest = |shares: &Value| {
        let shares = shares.as_object()?.values().filter_map(Value::as_u64);
        100_u64.checked_sub(shares.sum())
    };
    services.iter().filter_map(|(service, shares)| Some((service.clone(), rest(shares)?))).collect()
}

pub(super) fn queue(resource: &Resource) -> Queue {
    let name = resource.text("/name").map(last_segment);
    Queue {
        key: name.is_none().then(|| resource.index().unwrap_or_default().to_owned()),
        name: name.unwrap_or_else(|| resource.address().to_owned()),
        max_attempts: resource
            .value("/retry_config/0/max_attempts")
            .and_then(Value::as_i64)
            .unwrap_or(default::MAX_TASK_ATTEMPTS),
        max_retry_seconds: resource.seconds("/retry_config/0/max_retry_duration").unwrap_or_default(),
        is_paused: ["/desired_state", "/state"].iter().any(|each| resource.text(each) == Some("PAUSED")),
        tasks_per_second: resource.value("/rate_limits/0/max_dispatches_per_second").and_then(Value::as_f64),
        overrides_tasks: !resource.list("/http_target").is_empty(),
    }
}

pub(super) fn topic(resource: &Resource) -> Topic {
    Topic {
        name: name(resource),
        has_schema: !resource.list("/schema_settings").is_empty(),
        transforms: transforms(resource),
        retention_seconds: resource.seconds("/message_retention_duration"),
    }
}

fn transforms(resource: &Resource) -> bool {
    resource.list("/message_transforms").iter().any(|transform| transform["disabled"] != true)
}

pub(super) fn database(resource: &Resource) -> Database {
    Database {
        name: name(resource),
        is_native: resource.text("/type") == Some("FIRESTORE_NATIVE"),
        keeps_versions: resource.text("/point_in_time_recovery_enablement")
            == Some("POINT_IN_TIME_RECOVERY_ENABLED"),
    }
}

pub(super) fn field(resource: &Resource) -> Field {
    let text = |pointer| resource.text(pointer).unwrap_or_default().to_owned();
    Field {
        database: resource.text("/database").map_or_else(|| "(default)".to_owned(), last_segment),
        collection: text("/collection"),
        field: text("/field"),
        expires: !resource.list("/ttl_config").is_empty(),
        // A field has indexes by default. A block without indexes removes them.
        is_indexed: resource.list("/index_config").is_empty()
            || !resource.list("/index_config/0/indexes").is_empty(),
    }
}

pub(super) fn alert(resource: &Resource) -> Alert {
    let conditions = resource.list("/conditions").iter().enumerate();
    Alert {
        address: resource.address().to_owned(),
        name: resource.name(),
        key: resource.index().filter(|key| key.parse::<usize>().is_err()).map(str::to_owned),
        enabled: resource.value("/enabled") != Some(&Value::Bool(false)),
        has_channel: !resource.is_empty("notification_channels"),
        needs_all: resource.text("/combiner").is_some_and(|combiner| combiner != "OR"),
        conditions: conditions.filter_map(|(place, each)| condition(place, each)).collect(),
    }
}

fn condition(place: usize, block: &Value) -> Option<Condition> {
    let (absence, threshold) = (&block["condition_absent"][0], &block["condition_threshold"][0]);
    let is_absence = absence.is_object();
    let values = if is_absence { absence } else { threshold };
    let filter = |name: &str| values[name].as_str().map(Filter::parse);
    let trigger = &values["trigger"][0];
    values.is_object().then(|| Condition {
        place,
        filter: filter("filter"),
        is_absence,
        is_upper: values["comparison"] == "COMPARISON_GT",
        threshold: values["threshold_value"].as_f64().unwrap_or_default(),
        duration_seconds: values["duration"].as_str().and_then(seconds).unwrap_or_default(),
        aggregation: aggregation(&values["aggregations"][0]),
        denominator: filter("denominator_filter")
            .filter(|_| values["denominator_filter"] != "")
            .map(|filter| (filter, aggregation(&values["denominator_aggregations"][0]))),
        trigger: match (trigger["count"].as_u64(), trigger["percent"].as_f64()) {
            (Some(count), _) if count > 1 => Some(format!("{count} time series")),
            (_, Some(percent)) if percent > 0.0 => Some(format!("{percent} % of the time series")),
            _ => None,
        },
    })
}

fn aggregation(block: &Value) -> Option<Aggregation> {
    let text = |name: &str, default: &str| {
        block[name].as_str().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    let group_by = block["group_by_fields"].as_array().into_iter().flatten().filter_map(Value::as_str);
    block.is_object().then(|| Aggregation {
        period_seconds: block["alignment_period"].as_str().and_then(seconds).unwrap_or_default(),
        aligner: text("per_series_aligner", "ALIGN_NONE"),
        reducer: text("cross_series_reducer", "REDUCE_NONE"),
        group_by: group_by.map(|field| field.replace(".label.", ".labels.")).collect(),
    })
}

pub(super) fn slo(resource: &Resource) -> Slo {
    const RATIO: &str = "/request_based_sli/0/good_total_ratio/0";
    let filter = |name: &str| resource.text(&format!("{RATIO}/{name}_service_filter")).map(Filter::parse);
    Slo {
        address: resource.address().to_owned(),
        name: resource.text("/name").map(str::to_owned),
        goal: resource.value("/goal").and_then(Value::as_f64).unwrap_or_default(),
        total: filter("total"),
        bad: filter("bad"),
    }
}

/// A field of an item in the maps of terraform/catalog.tf. Their keys are services, subscriptions, and
/// `service/topic` for each topic that a service publishes to.
fn each_value(catalog: &Catalog, key: &str, field: &str) -> Option<String> {
    let value = |pairs: &[(&str, &str)]| {
        pairs.iter().find(|(name, _)| *name == field).map(|(_, value)| (*value).to_owned())
    };
    if let Some((service, topic)) = key.split_once('/') {
        return value(&[("service", service), ("topic", topic)]);
    }
    catalog.services.iter().find_map(|service| {
        if service.name == key {
            return value(&[("name", key), ("deadLetterTopic", &service.dead_letter_topic)]);
        }
        let subscription = service.subscriptions.iter().find(|subscription| subscription.name == key)?;
        value(&[
            ("name", key),
            ("service", &service.name),
            ("topic", &subscription.topic),
            ("deadLetterTopic", &subscription.dead_letter_topic),
        ])
    })
}

fn name(resource: &Resource) -> String {
    resource.text("/name").map(last_segment).unwrap_or_default()
}

/// Returns `t` for `projects/p/topics/t`.
pub(super) fn last_segment(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
