//! Each test has its own world: a project on the emulators, and services as processes.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use futures::future::join_all;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{
    emulators::{Firestore, PubSub, variable},
    harness::{FUNCTIONS, Process, eventually, free_port, read},
};

pub(crate) const CONSUMERS: [&str; 4] =
    ["email-service", "analytics-service", "crm-service", "billing-service"];

/// The topic of a service's subscription.
fn topic(service: &str) -> Option<&'static str> {
    match service {
        "user-service" | "auth-service" => None,
        "log-service" => Some("log-events"),
        "expiration-service" => Some("ticketing-events"),
        _ if service.starts_with("ticket-") => Some("ticketing-events"),
        _ if CONSUMERS.contains(&service) => Some("user-events"),
        _ => Some("shop-events"),
    }
}

/// A project and its services, which are killed on drop.
pub(crate) struct World {
    pub(crate) pubsub: PubSub,
    pub(crate) firestore: Firestore,
    http: Client,
    variables: Vec<(&'static str, String)>,
    ports: BTreeMap<&'static str, u16>,
    running: Mutex<BTreeMap<&'static str, Process>>,
    logs: PathBuf,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) email: String,
}

/// Builds a [`World`].
pub(crate) struct Plan {
    name: &'static str,
    services: Vec<&'static str>,
    pubsub: Option<String>,
    variables: Vec<(&'static str, String)>,
}

impl Plan {
    /// Replaces the services.
    pub(crate) fn services(mut self, services: &[&'static str]) -> Self {
        self.services = services.to_vec();
        self
    }

    /// Sets a variable for all services.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Replaces the Pub/Sub emulator that the tests share.
    pub(crate) fn pubsub(mut self, host: String) -> Self {
        self.pubsub = Some(host);
        self
    }

    /// Starts the services, and waits until they are ready and subscribed.
    pub(crate) async fn start(self) -> World {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let project = format!("{}-{}", self.name, since_1970.as_micros());
        let logs = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("e2e").join(&project);
        fs::create_dir_all(&logs).expect("a folder for the logs");
        let http = Client::builder().no_proxy().build().expect("an HTTP client");
        let host = self.pubsub.unwrap_or_else(|| variable("PUBSUB_EMULATOR_HOST"));
        let firestore = variable("FIRESTORE_EMULATOR_HOST");
        let world = World {
            pubsub: PubSub { host, project: project.clone(), http: http.clone() },
            firestore: Firestore { host: firestore, project, http: http.clone() },
            http,
            variables: self.variables,
            ports: self.services.into_iter().map(|service| (service, free_port())).collect(),
            running: Mutex::default(),
            logs,
        };
        world.start_all().await;
        world
    }
}

impl World {
    /// Starts a world with all services of the signup system.
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::plan(name).start().await
    }

    pub(crate) fn plan(name: &'static str) -> Plan {
        let services = [&["user-service"], &CONSUMERS[..]].concat();
        Plan { name, services, pubsub: None, variables: Vec::new() }
    }

    /// Starts or restarts all services.
    pub(crate) async fn start_all(&self) {
        join_all(self.services().map(|service| self.start_service(service))).await;
    }

    pub(crate) async fn start_service(&self, service: &'static str) {
        self.start_with(service, &[]).await;
    }

    /// Kills a service if it runs, and starts it with additional variables.
    pub(crate) async fn start_with(&self, service: &'static str, variables: &[(&str, &str)]) {
        self.kill(service);
        let mut command = self.functions(&["serve", service]);
        command.envs([
            ("PORT", self.ports[service].to_string().as_str()),
            // As on Cloud Run, it logs in JSON.
            ("K_SERVICE", service),
            ("PUSH_AUTH", "none"),
        ]);
        command.envs(variables.iter().copied());
        let process = Process::spawn(&mut command, self.logs.join(service));
        self.running().insert(service, process);

        let url = self.url(service) + "/";
        eventually(&format!("{service} is ready"), async || {
            self.get(service, "/healthz").await?;
            match topic(service) {
                Some(topic) if self.pubsub.push_endpoint(service, topic).await? != url => {
                    Err("it is not subscribed".to_owned())
                }
                _ => Ok(()),
            }
        })
        .await;
    }

    /// A command of the binary, in this project.
    pub(crate) fn functions(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(FUNCTIONS);
        command.args(arguments).env_clear().envs([
            ("GOOGLE_CLOUD_PROJECT", &self.pubsub.project),
            ("PUBSUB_EMULATOR_HOST", &self.pubsub.host),
            ("FIRESTORE_EMULATOR_HOST", &self.firestore.host),
        ]);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// Starts another command of the binary on this project.
    pub(crate) fn start_tool(&self, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
        let mut command = self.functions(arguments);
        Process::spawn(command.envs(variables.iter().copied()), self.logs.join(name))
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self, service: &str) {
        // Dropping the process kills it.
        let _killed = self.running().remove(service);
    }

    /// Hands the process of a service over to the caller.
    pub(crate) fn release(&self, service: &str) -> Process {
        self.running().remove(service).expect("it runs")
    }

    /// The services of this world, running or not.
    pub(crate) fn services(&self) -> impl Iterator<Item = &'static str> {
        self.ports.keys().copied()
    }

    pub(crate) fn url(&self, service: &str) -> String {
        format!("http://localhost:{}", self.ports[service])
    }

    pub(crate) fn request(&self, method: Method, service: &str, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(service) + path)
    }

    pub(crate) fn post(&self, service: &str, path: &str) -> RequestBuilder {
        self.request(Method::POST, service, path)
    }

    pub(crate) fn put(&self, service: &str, path: &str) -> RequestBuilder {
        self.request(Method::PUT, service, path)
    }

    pub(crate) async fn get(&self, service: &str, path: &str) -> Result<String, String> {
        let answer =
            self.http.get(self.url(service) + path).send().await.map_err(|error| error.to_string())?;
        let answer = answer.error_for_status().map_err(|error| error.to_string())?;
        answer.text().await.map_err(|error| error.to_string())
    }

    pub(crate) async fn get_json(&self, service: &str, path: &str) -> Result<Value, String> {
        serde_json::from_str(&self.get(service, path).await?).map_err(|error| error.to_string())
    }

    /// The items of all pages.
    pub(crate) async fn list(&self, service: &str, path: &str) -> Result<Vec<Value>, String> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get_json(service, &format!("{path}?limit=40{cursor}")).await?;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// The log of all processes of a service so far.
    pub(crate) fn log(&self, service: &str) -> String {
        read(&self.logs.join(service))
    }

    pub(crate) async fn logged(&self, service: &str, text: &str) {
        eventually(&format!("{service} logs {text:?}"), async || {
            if self.log(service).contains(text) { Ok(()) } else { Err("it is not in the log".to_owned()) }
        })
        .await;
    }

    /// The log lines of the deliveries.
    pub(crate) fn deliveries(&self, service: &str) -> Vec<Value> {
        let lines = self.log(service);
        // The last line may be incomplete.
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("delivery: ")))
            .collect()
    }

    /// Waits until exactly this number of deliveries have had this outcome.
    pub(crate) async fn delivered(&self, service: &str, outcome: &str, count: usize) {
        eventually(&format!("{service} has {count} deliveries {outcome}"), async || {
            let deliveries = self.deliveries(service);
            let found = deliveries.iter().filter(|line| line["outcome"] == outcome).count();
            if found == count { Ok(()) } else { Err(format!("{found} found")) }
        })
        .await;
    }

    pub(crate) async fn sign_up(&self, email: &str, name: &str) -> User {
        let request = self.post("user-service", "/users").json(&json!({ "email": email, "name": name }));
        let answer = request.send().await.expect("user-service answers");
        let (status, text) = (answer.status(), answer.text().await.expect("an answer"));
        assert_eq!(status, StatusCode::CREATED, "{text}");
        User::from(&serde_json::from_str(&text).expect("JSON"))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<&'static str, Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.running().clear();
        if !std::thread::panicking() {
            // Only a failed test needs its logs.
            let _ = fs::remove_dir_all(&self.logs);
        }
    }
}

impl From<&Value> for User {
    /// The JSON must have the fields `userId` and `email`.
    fn from(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Self { id: text("userId"), email: text("email") }
    }
}
