//! Runs the commands of the README, as a reader would paste them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use reqwest::Client;
use serde_json::{Value, json};

use super::{FUNCTIONS, eventually, expect};

/// These markers stand above the ```` ```sh ```` blocks to run.
pub(crate) const SIGNUP: &str = "<!-- test: signup -->";
pub(crate) const SHOP: &str = "<!-- test: shop -->";

/// The addresses that the commands use.
pub(crate) struct Endpoints {
    /// The URL of each service.
    pub(crate) urls: BTreeMap<&'static str, String>,
    /// The URL of Pub/Sub's REST API.
    pub(crate) pubsub_url: String,
    pub(crate) project: String,
}

const SERVICES: [&str; 11] = [
    "user-service",
    "email-service",
    "analytics-service",
    "crm-service",
    "billing-service",
    "order-api",
    "order-service",
    "auth-service",
    "ticket-service",
    "ticket-order-service",
    "ticket-payment-service",
];

impl Endpoints {
    /// The addresses of a local stack.
    pub(crate) fn local_stack(url: &str) -> Self {
        let services = SERVICES.map(|service| (service, format!("{url}/{service}")));
        Self {
            // This becomes LOCAL_URL.
            urls: services.into_iter().chain([("local", url.to_owned())]).collect(),
            pubsub_url: format!("{url}/"),
            project: "local".to_owned(),
        }
    }

    /// Runs the blocks below a marker, and returns their output.
    pub(crate) fn run(&self, marker: &str) -> String {
        let mut bash = Command::new("bash");
        let commands: Vec<String> = blocks(marker).into_iter().map(|(commands, _)| commands).collect();
        // The binary under test may be in another folder.
        let script = commands.join("\n").replace("target/debug/functions", FUNCTIONS);
        bash.arg("-eu").arg("-c").arg(script).current_dir(root());
        for (service, url) in &self.urls {
            // Such as USER_SERVICE_URL.
            bash.env(format!("{}_URL", service.to_uppercase().replace('-', "_")), url);
        }
        bash.env("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", &self.pubsub_url)
            .env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
            .env("CLOUDSDK_CORE_PROJECT", &self.project)
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "true")
            .env("CLOUDSDK_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/gcloud"));
        let output = bash.output().expect("bash is installed");
        let (printed, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "the README's commands failed:\n{printed}\n{errors}");
        printed.into_owned()
    }

    pub(crate) async fn get(&self, http: &Client, service: &str, path: &str) -> Result<Value, String> {
        let url = format!("{}{path}", self.urls[service]);
        let answer = http.get(url).send().await.map_err(|error| error.to_string())?;
        let answer = answer.error_for_status().map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    }
}

/// Runs the commands of the signup system. One signs a user up, another publishes `test-123` by hand. Then
/// waits until each of the two users has a contact, a signup, a mail and a charge. Returns the output.
pub(crate) async fn follow(endpoints: Endpoints) -> String {
    let printed = endpoints.run(SIGNUP);
    let http = Client::builder().no_proxy().build().expect("an HTTP client");
    let get = async |service: &str, path: &str| endpoints.get(&http, service, path).await;
    let users = eventually("two users have a contact", async || {
        let contacts = get("crm-service", "/contacts").await?;
        let contacts = contacts["items"].as_array().into_iter().flatten();
        let users: BTreeSet<_> =
            contacts.map(|contact| contact["userId"].as_str().unwrap_or_default().to_owned()).collect();
        if users.len() == 2 { Ok(users) } else { Err(format!("{users:?}")) }
    });
    let users = users.await;
    assert!(users.contains("test-123"), "{users:?}");
    eventually("both users have a mail, a charge and a signup", async || {
        for user in &users {
            let emails = get("email-service", &format!("/emails?userId={user}")).await?;
            let charge = get("billing-service", &format!("/charges/{user}")).await?;
            expect("mails", &emails["items"].as_array().map_or(0, Vec::len), &1)?;
            expect("mail", &emails["items"][0]["status"], &"sent".into())?;
            expect("charge", &charge["status"], &"paid".into())?;
        }
        expect("signups", &get("analytics-service", "/signups").await?["total"], &2.into())
    })
    .await;
    printed
}

/// Runs the commands of the shop. One buys two teapots, another cannot pay for three. Then waits until two
/// teapots are sold and the other three are free. Returns the output.
pub(crate) async fn follow_shop(endpoints: Endpoints) -> String {
    let printed = endpoints.run(SHOP);
    let http = Client::builder().no_proxy().build().expect("an HTTP client");
    eventually("two of five teapots are sold", async || {
        let products = endpoints.get(&http, "order-service", "/products").await?;
        let teapot = products["items"].as_array().into_iter().flatten().find(|item| item["sku"] == "teapot");
        let stock = teapot.map(|teapot| teapot["stock"].clone());
        expect("teapots", &stock, &Some(json!({ "free": 3, "held": 0, "sold": 2 })))
    })
    .await;
    printed
}

/// The commands of each block below the marker, and the sample of their output that follows them, if there is one.
pub(crate) fn blocks(marker: &str) -> Vec<(String, Option<String>)> {
    let readme = root().join("README.md");
    let text = fs::read_to_string(&readme).expect("README.md is readable");
    let begin = format!("{marker}\n```sh\n");
    let block = |rest: &str| {
        let (commands, rest) = rest.split_once("\n```\n")?;
        let sample = rest.strip_prefix("\n```json\n").and_then(|rest| rest.split_once("\n```"));
        Some((commands.to_owned(), sample.map(|(sample, _)| sample.to_owned())))
    };
    let blocks: Vec<_> = text.split(&begin).skip(1).filter_map(block).collect();
    assert!(!blocks.is_empty(), "README.md has no ```sh block directly below the line {marker}");
    blocks
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
