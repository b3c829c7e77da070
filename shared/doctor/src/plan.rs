//! The resources of a Terraform plan or state that the checks need. They are read once, so no check reads
//! Terraform's JSON, except the one that compares single settings.

mod balancer;
mod filter;
mod grants;
mod read;

use std::collections::BTreeMap;

use catalog::{Catalog, ServiceEntry};
use serde_json::Value;

use self::balancer::Balancer;
pub(super) use self::balancer::UrlMap;
pub(super) use self::filter::Filter;
pub(super) use self::grants::{Grant, GrantTarget, Member};
use super::terraform::Document;
pub(super) use super::terraform::{Kind, Known, Resource};

/// Stands for a name that a plan does not know. Terraform uses the same words.
pub(super) const UNKNOWN: &str = "(known after apply)";

pub(super) struct Plan {
    pub(super) kind: Kind,
    resources: Vec<Resource>,
    /// Addresses of resources in other projects, with their project. They do not belong to the deployment.
    pub(super) elsewhere: Vec<(String, String)>,
    /// The prefix of all names of this deployment.
    pub(super) prefix: String,
    /// The systems to deploy, if the plan has that variable.
    systems: Option<Vec<String>>,
    pub(super) services: Vec<CloudRunService>,
    pub(super) topics: Vec<Topic>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) jobs: Vec<Job>,
    pub(super) queues: Vec<Queue>,
    pub(super) grants: Vec<Grant>,
    /// Addresses of grants that remove a role from all other members.
    pub(super) authoritative: Vec<String>,
    pub(super) databases: Vec<Database>,
    pub(super) fields: Vec<Field>,
    /// The databases with a schedule of backups.
    pub(super) backed_up: Vec<String>,
    pub(super) alerts: Vec<Alert>,
    pub(super) slos: Vec<Slo>,
    pub(super) uptime_checks: Vec<UptimeCheck>,
    pub(super) balancer: Balancer,
    /// The share of the newest revision in percent, for each service of the catalog for which the plan declares one.
    pub(super) newest_shares: BTreeMap<String, u64>,
}

pub(super) struct CloudRunService {
    pub(super) name: String,
    pub(super) location: Option<String>,
    pub(super) project: Option<String>,
    /// The service of the catalog that its container runs.
    pub(super) serves: Option<String>,
    pub(super) account: Option<String>,
    pub(super) timeout_seconds: u64,
    pub(super) env: BTreeMap<String, String>,
    /// The names of secrets, by the environment variables that hold their values.
    pub(super) secrets: BTreeMap<String, String>,
    /// Audiences that Cloud Run accepts besides the service's URLs.
    pub(super) custom_audiences: Vec<String>,
    pub(super) urls: Vec<String>,
    /// Whether anyone may call it without a grant.
    pub(super) is_open: bool,
    /// Whether it accepts calls from the internet.
    pub(super) is_reachable: bool,
    /// Whether it accepts calls of load balancers, but no others from the internet.
    pub(super) needs_load_balancer: bool,
    /// Whether it has no URL at run.app.
    pub(super) has_no_url: bool,
    /// Whether the number of its instances is fixed at zero.
    pub(super) is_stopped: bool,
    /// What Cloud Run probes until the container is ready, and while it runs.
    pub(super) startup: Option<Probe>,
    pub(super) liveness: Option<Probe>,
    /// The port that gets requests.
    pub(super) port: Option<u64>,
    /// Whether all its outgoing traffic goes to a network of the project.
    pub(super) uses_network: bool,
    /// The share of the traffic that the newest revision gets, in percent.
    pub(super) newest_percent: u64,
}

/// A call of a container, to learn whether it works.
pub(super) struct Probe {
    pub(super) path: String,
    pub(super) port: Option<u64>,
}

pub(super) struct Topic {
    pub(super) name: String,
    pub(super) has_schema: bool,
    /// Whether Pub/Sub runs code that changes or drops messages.
    pub(super) transforms: bool,
    pub(super) retention_seconds: Option<u64>,
}

pub(super) struct Subscription {
    pub(super) name: String,
    /// `None` if the plan does not know it. This holds for every optional name below.
    pub(super) topic: Option<String>,
    pub(super) filter: String,
    pub(super) ack_deadline_seconds: u64,
    pub(super) retention_seconds: u64,
    pub(super) expires: bool,
    /// Whether Pub/Sub runs code that changes or drops messages.
    pub(super) transforms: bool,
    pub(super) wrapping: Wrapping,
    pub(super) push: Option<Delivery>,
    /// Whether Pub/Sub writes the messages to BigQuery or Cloud Storage, and keeps none.
    pub(super) exports: bool,
    pub(super) dead_letters: Option<DeadLetters>,
    /// The minimum and the maximum.
    pub(super) backoff_seconds: Option<(u64, u64)>,
}

/// The form of a push.
#[derive(PartialEq, Eq)]
pub(super) enum Wrapping {
    /// The data and the attributes are in an envelope.
    Wrapped,
    /// The data is the body, and the attributes are headers.
    Headers,
    /// The data is the body, and the attributes are lost.
    DataOnly,
}

pub(super) struct DeadLetters {
    pub(super) topic: Option<String>,
    pub(super) max_delivery_attempts: u64,
}

/// A Cloud Scheduler job.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) posts: bool,
    pub(super) paused: bool,
    pub(super) schedule: String,
    /// How long it waits for an answer.
    pub(super) deadline_seconds: Option<u64>,
    pub(super) delivery: Delivery,
}

/// A queue of Cloud Tasks.
pub(super) struct Queue {
    /// Its address, if the plan does not know the name yet.
    pub(super) name: String,
    /// The service that it is for, in the plan of a first deployment.
    pub(super) key: Option<String>,
    /// -1 means without end.
    pub(super) max_attempts: i64,
    /// 0 means without end.
    pub(super) max_retry_seconds: u64,
    pub(super) is_paused: bool,
    /// The most tasks that it starts in a second, if the plan knows it.
    pub(super) tasks_per_second: Option<f64>,
    /// Whether it replaces the URL, the method or the headers of its tasks.
    pub(super) overrides_tasks: bool,
}

/// The destination of requests, and the token that they carry.
pub(super) struct Delivery {
    pub(super) service: Option<String>,
    /// `None` in the plan of a first deployment, which knows no URLs.
    pub(super) path: Option<String>,
    pub(super) token: Option<Token>,
}

pub(super) struct Token {
    pub(super) account: Option<String>,
    pub(super) audience: Option<String>,
}

pub(super) struct Database {
    pub(super) name: String,
    pub(super) is_native: bool,
    /// Whether it can be restored to any minute of the last days.
    pub(super) keeps_versions: bool,
}

/// Settings of a Firestore field.
pub(super) struct Field {
    pub(super) database: String,
    pub(super) collection: String,
    pub(super) field: String,
    pub(super) expires: bool,
    pub(super) is_indexed: bool,
}

/// A call of a service from the internet.
pub(super) struct UptimeCheck {
    pub(super) address: String,
    /// Its key in `for_each`.
    pub(super) key: Option<String>,
    pub(super) service: String,
    /// `None` if the plan does not know it.
    pub(super) id: Option<String>,
}

pub(super) struct Alert {
    pub(super) address: String,
    /// Its name in the configuration, such as `dead_letters`.
    pub(super) name: String,
    /// Its key in `for_each`, but not its number in `count`.
    pub(super) key: Option<String>,
    pub(super) enabled: bool,
    pub(super) has_channel: bool,
    /// Whether all conditions must hold, and not only one.
    pub(super) needs_all: bool,
    pub(super) conditions: Vec<Condition>,
}

/// A condition that compares time series with a threshold, or fires when they are absent.
pub(super) struct Condition {
    /// Its position in the alert.
    pub(super) place: usize,
    /// `None` if the plan does not know it yet.
    pub(super) filter: Option<Filter>,
    pub(super) is_absence: bool,
    /// Whether it fires above the threshold.
    pub(super) is_upper: bool,
    pub(super) threshold: f64,
    /// How long the value must be beyond the threshold.
    pub(super) duration_seconds: u64,
    pub(super) aggregation: Option<Aggregation>,
    /// If it is there, the value is a share, from 0 to 1.
    pub(super) denominator: Option<(Filter, Option<Aggregation>)>,
    /// The number or the percentage of time series that must be beyond the threshold, if it is not one.
    pub(super) trigger: Option<String>,
}

/// How a condition combines the points of a time series, and the series.
#[derive(PartialEq)]
pub(super) struct Aggregation {
    pub(super) period_seconds: u64,
    pub(super) aligner: String,
    /// `REDUCE_NONE` keeps the series apart.
    pub(super) reducer: String,
    pub(super) group_by: Vec<String>,
}

/// A goal for the share of good requests.
pub(super) struct Slo {
    pub(super) address: String,
    /// `None` if the plan does not know it yet.
    pub(super) name: Option<String>,
    pub(super) goal: f64,
    pub(super) total: Option<Filter>,
    pub(super) bad: Option<Filter>,
}

impl CloudRunService {
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    pub(super) fn database(&self) -> String {
        self.variable("FIRESTORE_DATABASE").unwrap_or("(default)").to_owned()
    }

    fn prefix(&self) -> Option<String> {
        self.name.strip_suffix(self.serves.as_ref()?).map(str::to_owned)
    }
}

impl Delivery {
    pub(super) fn reaches(&self, service: &str, path: &str) -> bool {
        self.service.as_deref() == Some(service) && self.path.as_deref().is_none_or(|known| known == path)
    }

    pub(super) fn destination(&self) -> String {
        match (&self.service, &self.path) {
            (Some(service), Some(path)) => format!("{path} of {service}"),
            (Some(service), None) => service.clone(),
            (None, path) => path.as_deref().unwrap_or(UNKNOWN).to_owned(),
        }
    }
}

impl Plan {
    pub(super) fn read(json: &str, catalog: &Catalog) -> Result<Self, String> {
        let mut document = Document::read(json)?;
        let elsewhere = read::remove_other_projects(&mut document);
        let reader = read::Reader { document: &document, catalog };
        let services: Vec<CloudRunService> =
            document.of_kind("google_cloud_run_v2_service").map(read::service).collect();
        let systems = document.variable("systems").map(|systems| match systems.as_array() {
            Some(systems) => systems.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => catalog.services.iter().map(|service| service.system.clone()).collect(),
        });
        let (grants, authoritative) = grants::read(&reader);
        let prefix = services.iter().find_map(CloudRunService::prefix).unwrap_or_default();
        let in_catalog = |service: &CloudRunService| {
            let name = service.name.strip_prefix(prefix.as_str());
            catalog.services.iter().any(|entry| name == Some(&entry.name))
        };
        Ok(Self {
            kind: document.kind,
            systems,
            topics: document.of_kind("google_pubsub_topic").map(read::topic).collect(),
            subscriptions: (document.of_kind("google_pubsub_subscription"))
                .map(|resource| reader.subscription(resource, &services))
                .collect(),
            jobs: (document.of_kind("google_cloud_scheduler_job"))
                .map(|resource| reader.job(resource, &services))
                .collect(),
            queues: document.of_kind("google_cloud_tasks_queue").map(read::queue).collect(),
            grants,
            authoritative,
            backed_up: (document.of_kind("google_firestore_backup_schedule"))
                .filter_map(|resource| reader.name(resource, "/database"))
                .collect(),
            uptime_checks: (document.of_kind("google_monitoring_uptime_check_config"))
                .filter_map(|resource| reader.uptime_check(resource, &services))
                .collect(),
            balancer: Balancer::read(&reader),
            newest_shares: read::newest_shares(&document),
            databases: document.of_kind("google_firestore_database").map(read::database).collect(),
            fields: document.of_kind("google_firestore_field").map(read::field).collect(),
            alerts: document.of_kind("google_monitoring_alert_policy").map(read::alert).collect(),
            slos: document.of_kind("google_monitoring_slo").map(read::slo).collect(),
            // Services that the catalog does not know follow other rules.
            services: services.into_iter().filter(in_catalog).collect(),
            prefix,
            elsewhere,
            resources: document.resources,
        })
    }

    pub(super) fn resources_of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().filter(move |resource| resource.kind == kind)
    }

    /// Whether a service runs as this account, or its events are delivered as this account.
    pub(super) fn is_own_account(&self, address: &str) -> bool {
        self.services.iter().any(|service| {
            service.account.as_deref() == Some(address)
                || service.variable("PUSH_SERVICE_ACCOUNT") == Some(address)
        })
    }

    /// The part of the catalog that this plan must contain, with the prefix on its names.
    pub(super) fn expected(&self, catalog: &Catalog) -> Catalog {
        let mut expected = catalog.clone();
        let rename = |name: &mut String| name.insert_str(0, &self.prefix);
        expected.services.iter_mut().for_each(|service| {
            rename(&mut service.name);
            rename(&mut service.dead_letter_topic);
            service.timer_queue.iter_mut().for_each(rename);
            service.publishes_to.iter_mut().for_each(rename);
            for subscription in &mut service.subscriptions {
                rename(&mut subscription.name);
                rename(&mut subscription.topic);
                rename(&mut subscription.dead_letter_topic);
            }
        });
        // A state does not name the systems to deploy, nor does a plan whose resources are in a module.
        // Then a system counts if at least one of its services exists. If no service exists, all are missing.
        let deployed: Vec<String> = (expected.services.iter())
            .filter(|service| self.service(&service.name).is_some())
            .map(|service| service.system.clone())
            .collect();
        let systems = self.systems.as_ref().unwrap_or(&deployed);
        if !systems.is_empty() {
            expected.services.retain(|service| systems.contains(&service.system));
        }
        expected.topics.iter_mut().for_each(|topic| rename(&mut topic.name));
        expected.topics.retain(|topic| {
            expected.services.iter().any(|service| {
                service.publishes_to.contains(&topic.name)
                    || service.subscriptions.iter().any(|subscription| subscription.topic == topic.name)
            })
        });
        expected
    }

    pub(super) fn service(&self, name: &str) -> Option<&CloudRunService> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The queue of a service's timers. The end of its name is random.
    pub(super) fn queue(&self, service: &ServiceEntry) -> Option<&Queue> {
        let name = service.timer_queue.as_deref()?;
        let key = service.name.strip_prefix(&self.prefix);
        self.queues.iter().find(|queue| match queue.key.as_deref() {
            Some(known) => key == Some(known),
            None => queue.name.strip_prefix(name).is_some_and(|end| end.is_empty() || end.starts_with('-')),
        })
    }

    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    pub(super) fn subscription(&self, name: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.name == name)
    }

    /// The pull subscriptions that keep the messages of a dead-letter topic.
    pub(super) fn holders(&self, topic: &str) -> impl Iterator<Item = &Subscription> {
        self.subscriptions
            .iter()
            .filter(move |each| each.push.is_none() && !each.exports && each.topic.as_deref() == Some(topic))
    }

    pub(super) fn relay_jobs(&self, service: &str) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(move |job| job.posts && job.delivery.reaches(service, "/relay"))
    }

    /// A condition can be false at any time, so a grant with a condition does not count.
    pub(super) fn is_granted(&self, target: &GrantTarget, roles: &[&str], member: &Member) -> bool {
        self.grants.iter().any(|grant| {
            grant.target == *target
                && grant.member == *member
                && grant.condition.is_none()
                && roles.contains(&grant.role.as_str())
        })
    }
}
