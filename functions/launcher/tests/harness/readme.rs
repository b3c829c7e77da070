//! The README's own commands, run as a reader would paste them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use reqwest::Client;
use serde_json::{Value, json};

use super::{eventually, expect};

/// Stand above the ```` ```sh ```` blocks that are run.
const SIGNUP: &str = "<!-- test: signup -->";
const SHOP: &str = "<!-- test: shop -->";

/// Where the processes are that the commands reach.
pub(crate) struct Reached {
    /// By service.
    pub(crate) urls: BTreeMap<&'static str, String>,
    /// Where Pub/Sub's REST API is.
    pub(crate) pubsub_url: String,
    pub(crate) project: String,
}

const SERVICES: [&str; 7] = [
    "user-service",
    "email-service",
    "analytics-service",
    "crm-service",
    "billing-service",
    "order-api",
    "order-service",
];

impl Reached {
    /// All of them at the URL of a local stack.
    pub(crate) fn local_stack(url: &str) -> Self {
        let services = SERVICES.map(|service| (service, format!("{url}/{service}")));
        Self {
            // Its own URL is LOCAL_URL.
            urls: services.into_iter().chain([("local", url.to_owned())]).collect(),
            pubsub_url: format!("{url}/"),
            project: "local".to_owned(),
        }
    }

    /// Runs the blocks below a marker, and returns what they print.
    pub(crate) fn run(&self, marker: &str) -> String {
        let mut bash = Command::new("bash");
        bash.arg("-eu").arg("-c").arg(commands(marker)).current_dir(root());
        for (service, url) in &self.urls {
            // USER_SERVICE_URL, and so on.
            bash.env(format!("{}_URL", service.to_uppercase().replace('-', "_")), url);
        }
        bash.env("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", &self.pubsub_url)
            .env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
            .env("CLOUDSDK_CORE_PROJECT", &self.project)
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "true")
            .env("CLOUDSDK_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/gcloud"));
        let output = bash.output().expect("bash is there");
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "the README's commands failed:\n{said}\n{errors}");
        said.into_owned()
    }

    pub(crate) async fn get(&self, http: &Client, service: &str, path: &str) -> Result<Value, String> {
        let url = format!("{}{path}", self.urls[service]);
        let answer = http.get(url).send().await.map_err(|error| error.to_string())?;
        let answer = answer.error_for_status().map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    }
}

/// Runs the commands, one of which signs a user up and one of which publishes `test-123` by hand,
/// and waits until each of the two has a contact, a signup, a mail and a charge.
pub(crate) async fn follow(reached: Reached) {
    reached.run(SIGNUP);
    let http = Client::builder().no_proxy().build().expect("an HTTP client");
    let get = async |service: &str, path: &str| reached.get(&http, service, path).await;
    let users = eventually("two users have a contact", async || {
        let contacts = get("crm-service", "/contacts").await?;
        let contacts = contacts["items"].as_array().into_iter().flatten();
        let users: BTreeSet<_> =
            contacts.map(|contact| contact["userId"].as_str().unwrap_or_default().to_owned()).collect();
        if users.len() == 2 { Ok(users) } else { Err(format!("{users:?}")) }
    });
    let users = users.await;
    assert!(users.contains("test-123"), "{users:?}");
    eventually("each of them has all the rest", async || {
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
}

/// Runs the commands, one of which buys two teapots and one of which cannot pay for three, and waits
/// until two are sold and the other three are free.
pub(crate) async fn follow_shop(reached: Reached) {
    reached.run(SHOP);
    let http = Client::builder().no_proxy().build().expect("an HTTP client");
    eventually("two of five teapots are sold", async || {
        let products = reached.get(&http, "order-service", "/products").await?;
        let teapot = products["items"].as_array().into_iter().flatten().find(|item| item["sku"] == "teapot");
        let stock = teapot.map(|teapot| teapot["stock"].clone());
        expect("teapots", &stock, &Some(json!({ "free": 3, "held": 0, "sold": 2 })))
    })
    .await;
}

/// All blocks that the marker stands above, as one script.
fn commands(marker: &str) -> String {
    let readme = root().join("README.md");
    let text = fs::read_to_string(&readme).expect("there is a README.md");
    let begin = format!("{marker}\n```sh\n");
    let blocks: Vec<&str> =
        text.split(&begin).skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0)).collect();
    assert!(!blocks.is_empty(), "README.md has no ```sh block directly below the line {marker}");
    blocks.join("\n")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
