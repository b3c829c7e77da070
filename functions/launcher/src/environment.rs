//! The environment, read once, and what is wrong with it, said by name.

use std::sync::Arc;

use effects::{
    mail::Mailer,
    payments::{Gateway, Money},
};
use pushbox::{Oidc, Ports, PushAuth, publisher::PubSub, store};

/// Where documents and events go.
pub(crate) struct Cloud {
    pub(crate) project: String,
    /// Lets two copies share a project.
    pub(crate) names_prefix: String,
    pub(crate) database: String,
    pub(crate) pubsub_emulator: Option<String>,
    pub(crate) firestore_emulator: Option<String>,
}

impl Cloud {
    /// `default_project` is for where nobody needs to name one.
    pub(crate) fn from_env(default_project: Option<&str>) -> Result<Self, String> {
        let project = match (variable("GOOGLE_CLOUD_PROJECT"), default_project) {
            (Some(project), _) => project,
            (None, Some(project)) => project.to_owned(),
            (None, None) => {
                return Err(missing(
                    "GOOGLE_CLOUD_PROJECT",
                    "the project that holds topics and documents",
                    "my-project",
                ));
            }
        };
        Ok(Self {
            project,
            names_prefix: variable("NAMES_PREFIX").unwrap_or_default(),
            database: variable("FIRESTORE_DATABASE").unwrap_or_else(|| "(default)".to_owned()),
            pubsub_emulator: address("PUBSUB_EMULATOR_HOST", "localhost:8085")?,
            firestore_emulator: address("FIRESTORE_EMULATOR_HOST", "localhost:8086")?,
        })
    }

    pub(crate) fn firestore(&self) -> store::Firestore {
        store::Firestore::new(&self.project, &self.database)
    }

    pub(crate) fn pubsub(&self) -> PubSub {
        PubSub::new(&self.project, &self.names_prefix, self.pubsub_emulator.as_deref())
    }
}

/// What Cloud Run, or whoever starts a service, says of it.
pub(crate) struct Serving {
    pub(crate) port: u16,
    pub(crate) auth: PushAuth,
}

impl Serving {
    pub(crate) fn from_env() -> Result<Self, String> {
        Ok(Self { port: port()?, auth: push_auth()? })
    }
}

pub(crate) fn port() -> Result<u16, String> {
    let Some(text) = variable("PORT") else { return Ok(8080) };
    text.parse().map_err(|_| malformed("PORT", "the port to listen on", "8080"))
}

/// The filter of the log, and the project if it is to be Cloud Logging's JSON.
pub(crate) fn start_logging() -> Result<(), String> {
    // The Firestore client says with each connection that it has one.
    let filter = variable("LOG").unwrap_or_else(|| "info,firestore=warn".to_owned());
    let project = variable("K_SERVICE").map(|_| variable("GOOGLE_CLOUD_PROJECT").unwrap_or_default());
    pushbox::telemetry::start(&filter, project.as_deref())
        .map_err(|_| malformed("LOG", "which lines to log", "info,pushbox=debug"))
}

fn push_auth() -> Result<PushAuth, String> {
    let what = "how pushes are authenticated: oidc, iam, or (on a machine that only you reach) none";
    match variable("PUSH_AUTH").as_deref() {
        None => Err(missing("PUSH_AUTH", what, "oidc")),
        Some("oidc") => {
            let audience = required(
                "PUSH_AUDIENCE",
                "the audience of the push tokens",
                "user-service.us-central1.my-project",
            )?;
            let example = "deliver-user-service@my-project.iam.gserviceaccount.com";
            let account = required("PUSH_SERVICE_ACCOUNT", "whose tokens pushes carry", example)?;
            Ok(PushAuth::Oidc(Arc::new(Oidc::google(&audience, &account)?)))
        }
        Some("iam") => Ok(PushAuth::Iam),
        Some("none") if variable("K_SERVICE").is_some() => {
            Err("PUSH_AUTH=none is for your own machine; on Cloud Run it is oidc or iam".to_owned())
        }
        Some("none") => Ok(PushAuth::None),
        Some(_) => Err(malformed("PUSH_AUTH", what, "oidc")),
    }
}

/// The real mail server if `MAIL_URL` is set, else the local mailbox.
pub(crate) fn mailer(ports: &Ports) -> Result<Mailer, String> {
    match variable("MAIL_URL") {
        Some(url) => {
            let from = required("MAIL_FROM", "the sender of all mails", "Shop <hello@example.com>")?;
            Mailer::smtp(&url, &from).map_err(|error| error.to_string())
        }
        None => Ok(Mailer::local(ports.store.clone(), ports.clock.clone())),
    }
}

/// Stripe if `STRIPE_SECRET_KEY` is set, else the local payment gateway.
pub(crate) fn gateway(ports: &Ports) -> Result<Gateway, String> {
    match variable("STRIPE_SECRET_KEY") {
        Some(key) => {
            let base = variable("STRIPE_API_BASE").unwrap_or_else(|| "https://api.stripe.com".to_owned());
            Gateway::stripe(&key, &base).map_err(|error| error.to_string())
        }
        None => Ok(Gateway::local(ports.store.clone(), ports.clock.clone())),
    }
}

/// What a signup costs.
pub(crate) fn signup_price() -> Result<Money, String> {
    let what = "what a signup costs, in the currency's smallest unit (cents)";
    let amount = variable("SIGNUP_PRICE").unwrap_or_else(|| "1000".to_owned());
    let minor = amount.parse().map_err(|_| malformed("SIGNUP_PRICE", what, "1000"))?;
    let currency = variable("SIGNUP_CURRENCY").unwrap_or_else(|| "usd".to_owned());
    let currency = currency.parse().map_err(|_| malformed("SIGNUP_CURRENCY", "an ISO 4217 code", "usd"))?;
    Ok(Money { minor, currency })
}

/// What is charged for a signup.
pub(crate) fn signup_payment_method() -> String {
    variable("SIGNUP_PAYMENT_METHOD").unwrap_or_else(|| "pm_card_visa".to_owned())
}

fn address(name: &str, example: &str) -> Result<Option<String>, String> {
    let Some(text) = variable(name) else { return Ok(None) };
    let is_address = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok());
    if is_address { Ok(Some(text)) } else { Err(malformed(name, "the emulator's host and port", example)) }
}

fn required(name: &str, what: &str, example: &str) -> Result<String, String> {
    variable(name).ok_or_else(|| missing(name, what, example))
}

fn missing(name: &str, what: &str, example: &str) -> String {
    format!("{name} is not set. It is {what}; for example {name}='{example}'")
}

fn malformed(name: &str, what: &str, example: &str) -> String {
    format!("{name} is malformed. It is {what}; for example {name}='{example}'")
}

/// An empty variable counts as one that is not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
