//! Reads the environment variables. The message of an error names its variable.

mod sign_in;
mod variable;

use std::{io, net::Ipv4Addr, sync::Arc};

use catalog::Secret;
use effects::{
    mail::Mailer,
    payments::{Gateway, LocalFaults, Money},
};
use pushbox::{Oidc, Origins, Ports, PushAuth, publisher::PubSub, store, timers::CloudTasks};
use redrive::{Monitoring, Names, Rest};
use tokio::net::TcpListener;

pub(crate) use sign_in::SignIn;
use variable::{Variable, is_address, is_database, is_http_url, is_names_prefix, is_one_word, is_project};

/// Where documents and events go: a project in the cloud, or emulators.
pub(crate) struct Cloud {
    pub(crate) project: String,
    /// Lets two deployments share a project.
    pub(crate) names_prefix: String,
    pub(crate) database: String,
    pub(crate) pubsub_emulator: Option<String>,
    pub(crate) firestore_emulator: Option<String>,
    pub(crate) tasks_emulator: Option<String>,
}

const PUBSUB_EMULATOR: Variable =
    Variable("PUBSUB_EMULATOR_HOST", "the Pub/Sub emulator's host and port", "localhost:8085");

const FIRESTORE_EMULATOR: Variable =
    Variable("FIRESTORE_EMULATOR_HOST", "the Firestore emulator's host and port", "localhost:8086");

const TASKS_EMULATOR: Variable = Variable(
    "CLOUD_TASKS_EMULATOR_HOST",
    "the host and port of the stand-in for Cloud Tasks",
    "localhost:8087",
);

const PROJECT: Variable =
    Variable("GOOGLE_CLOUD_PROJECT", "the id of the project that holds topics and documents", "my-project");

impl Cloud {
    /// Without a `default_project`, GOOGLE_CLOUD_PROJECT must be set.
    pub(crate) fn from_env(default_project: Option<&str>) -> Result<Self, String> {
        const NAMES_PREFIX: Variable = Variable(
            "NAMES_PREFIX",
            "the prefix of each topic's name: at most 10 lower-case letters, digits and hyphens",
            "staging-",
        );
        const DATABASE: Variable = Variable(
            "FIRESTORE_DATABASE",
            "the id of the Firestore database that holds the documents",
            "(default)",
        );
        let project = match (PROJECT.checked(is_project)?, default_project) {
            (Some(project), _) => project,
            (None, Some(project)) => project.to_owned(),
            (None, None) => return Err(PROJECT.missing()),
        };
        Ok(Self {
            project,
            names_prefix: NAMES_PREFIX.checked(is_names_prefix)?.unwrap_or_default(),
            database: DATABASE.checked(is_database)?.unwrap_or_else(|| "(default)".to_owned()),
            pubsub_emulator: PUBSUB_EMULATOR.checked(is_address)?,
            firestore_emulator: FIRESTORE_EMULATOR.checked(is_address)?,
            tasks_emulator: TASKS_EMULATOR.checked(is_address)?,
        })
    }

    /// The deployment of `project`, or of GOOGLE_CLOUD_PROJECT: a project in the cloud, or both emulators.
    pub(crate) fn of(project: Option<&str>) -> Result<Self, String> {
        if let Some(malformed) = project.filter(|project| !is_project(project)) {
            return Err(Variable("--project", PROJECT.1, PROJECT.2).malformed(malformed));
        }
        let mut cloud = Self::from_env(project)?;
        cloud.is_whole()?;
        cloud.project = project.map_or(cloud.project, str::to_owned);
        Ok(cloud)
    }

    pub(crate) fn names(&self) -> Names {
        Names { project: self.project.clone(), prefix: self.names_prefix.clone() }
    }

    /// Pub/Sub's REST API, for tools that repair dead letters.
    pub(crate) fn pubsub_rest(&self) -> Result<Rest, String> {
        let rest = match &self.pubsub_emulator {
            Some(host) => Rest::local(&format!("http://{host}"), &self.names()),
            None => Rest::cloud(&self.names()),
        };
        rest.map_err(|error| error.to_string())
    }

    /// Cloud Monitoring, which the emulators do not have.
    pub(crate) fn monitoring(&self) -> Result<Option<Monitoring>, String> {
        let monitoring = self.pubsub_emulator.is_none().then(|| Monitoring::cloud(&self.names()));
        monitoring.transpose().map_err(|error| error.to_string())
    }

    /// Whether both are emulators, or neither.
    fn is_whole(&self) -> Result<(), String> {
        match (&self.pubsub_emulator, &self.firestore_emulator) {
            (Some(_), None) => Err(FIRESTORE_EMULATOR.missing()),
            (None, Some(_)) => Err(PUBSUB_EMULATOR.missing()),
            _ => Ok(()),
        }
    }

    pub(crate) fn firestore(&self) -> store::Firestore {
        store::Firestore::new(&self.project, &self.database)
    }

    fn is_emulated(&self) -> bool {
        self.pubsub_emulator.is_some() && self.firestore_emulator.is_some()
    }

    pub(crate) fn pubsub(&self) -> PubSub {
        PubSub::new(&self.project, &self.names_prefix, self.pubsub_emulator.as_deref())
    }

    /// The timers of a service. On the emulators they are those of the stand-in.
    pub(crate) fn timers(&self) -> Result<CloudTasks, String> {
        const QUEUE: Variable = Variable(
            "TIMER_QUEUE",
            "the full name of the queue of Cloud Tasks that holds the service's timers",
            "projects/my-project/locations/us-central1/queues/expiration-service-timers",
        );
        const ACCOUNT: Variable = Variable(
            "TIMER_SERVICE_ACCOUNT",
            "the e-mail address of the service account as which the timers publish: the service's own",
            "expiration-service@my-project.iam.gserviceaccount.com",
        );
        match (&self.tasks_emulator, &self.pubsub_emulator) {
            (Some(tasks), Some(pubsub)) => Ok(self.emulated_timers(tasks, pubsub)),
            (None, Some(_)) => Err(TASKS_EMULATOR.missing()),
            (Some(_), None) => Err(PUBSUB_EMULATOR.missing()),
            (None, None) => {
                let queue = QUEUE.required(is_one_word)?;
                let account = ACCOUNT.required(|text| is_one_word(text) && text.contains('@'))?;
                Ok(CloudTasks::new(&queue, &self.project, &self.names_prefix, &account))
            }
        }
    }

    /// Timers on a stand-in at `tasks`, which publishes to `pubsub`.
    pub(crate) fn emulated_timers(&self, tasks: &str, pubsub: &str) -> CloudTasks {
        let queue = format!("projects/{}/locations/local/queues/{{service}}-timers", self.project);
        CloudTasks::emulated(&queue, &self.project, tasks, pubsub)
    }
}

/// The settings of one service.
pub(crate) struct Serving {
    pub(crate) port: u16,
    pub(crate) auth: PushAuth,
    pub(crate) cors_allowed_origins: Option<Origins>,
}

impl Serving {
    /// `is_public`: whether anyone may call the service.
    pub(crate) fn from_env(is_public: bool, cloud: &Cloud) -> Result<Self, String> {
        Ok(Self {
            port: port(8080)?,
            auth: push_auth(is_public, cloud)?,
            cors_allowed_origins: cors_allowed_origins()?,
        })
    }
}

/// The URL of a local stack.
pub(crate) fn local_url() -> Result<Option<String>, String> {
    let variable = Variable("LOCAL_URL", "the URL of the local stack", "http://localhost:8080");
    variable.checked(is_http_url)
}

/// Reads the URL of an argument.
pub(crate) fn http_url(text: &str) -> Result<String, String> {
    let url = is_http_url(text).then(|| text.to_owned());
    url.ok_or_else(|| "not a URL such as http://localhost:8080".to_owned())
}

/// Listens on PORT of this machine. `command` starts the program on another port.
pub(crate) async fn listen_here(default: u16, command: &str) -> Result<(TcpListener, u16), String> {
    let port = port(default)?;
    let failed = |error: io::Error| {
        format!("cannot listen on port {port}: {error}. To use another port: PORT=8090 {command}")
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    Ok((listener, port))
}

/// The value of PORT.
fn port(default: u16) -> Result<u16, String> {
    let port = Variable("PORT", "the port to listen on", "8080");
    Ok(port.parsed(|text| text.parse().ok())?.unwrap_or(default))
}

/// Starts the log with the filter of LOG. On Cloud Run, where K_SERVICE is set, it is JSON for Cloud Logging.
pub(crate) fn start_logging() -> Result<(), String> {
    const LOG: Variable = Variable(
        "LOG",
        "the log filter: a level (off, error, warn, info, debug, trace), and module=level for each exception",
        "info,pushbox=debug",
    );
    // At level info, the Firestore client logs every connection.
    let filter = LOG.value().unwrap_or_else(|| "info,firestore=warn".to_owned());
    let project = unchecked("K_SERVICE").map(|_| unchecked("GOOGLE_CLOUD_PROJECT").unwrap_or_default());
    pushbox::telemetry::start(&filter, project.as_deref()).map_err(|_| LOG.malformed(&filter))
}

fn push_auth(is_public: bool, cloud: &Cloud) -> Result<PushAuth, String> {
    const PUSH_AUTH: Variable =
        Variable("PUSH_AUTH", "the authentication of pushes: oidc, iam or, on the emulators, none", "oidc");
    const AUDIENCE: Variable =
        Variable("PUSH_AUDIENCE", "the audience of the push tokens", "user-service.us-central1.my-project");
    const SERVICE_ACCOUNT: Variable = Variable(
        "PUSH_SERVICE_ACCOUNT",
        "the e-mail address of the service account whose tokens pushes carry",
        "deliver-user-service@my-project.iam.gserviceaccount.com",
    );
    let account = || SERVICE_ACCOUNT.required(|text| is_one_word(text) && text.contains('@'));
    let value = PUSH_AUTH.required(|_| true)?;
    match value.as_str() {
        "oidc" => {
            let audience = AUDIENCE.required(is_one_word)?;
            Ok(PushAuth::Oidc(Arc::new(Oidc::google(&audience, &account()?)?)))
        }
        "iam" if is_public => {
            Err("PUSH_AUTH=iam is for private services. This service is public: Cloud Run \
             lets anyone call it, so the service must check the pushes itself, with PUSH_AUTH=oidc"
                .to_owned())
        }
        "iam" => Ok(PushAuth::Iam { service_account: account()?.into() }),
        "none" if cloud.is_emulated() => Ok(PushAuth::None),
        "none" => {
            Err("PUSH_AUTH=none is for your own machine, with both of Google's emulators. Either start \
             them with scripts/emulators and set PUBSUB_EMULATOR_HOST and FIRESTORE_EMULATOR_HOST to the \
             values that it prints, or use the cloud with PUSH_AUTH=oidc or iam"
                .to_owned())
        }
        _ => Err(PUSH_AUTH.malformed(&value)),
    }
}

/// The origins that may call public routes; none by default.
fn cors_allowed_origins() -> Result<Option<Origins>, String> {
    let variable = Variable(
        "CORS_ALLOWED_ORIGINS",
        "the origins that may call public routes, as browsers send them, separated by commas",
        "https://example.com,http://localhost:3000",
    );
    variable.parsed(|text| text.parse().ok())
}

const MAIL_URL: Variable = Variable(
    Mailer::SECRET,
    "the mail server, with the user and the password",
    "smtps://user:password@smtp.example.com",
);

const STRIPE_KEY: Variable =
    Variable(Gateway::SECRET, "the secret key of your Stripe account", "sk_live_...");

/// The value of MAIL and PAYMENTS that chooses the stand-in. They ignore other values, because MAIL is the path of
/// the mailbox in many shells.
const STAND_IN: &str = "local";

/// Fails on Cloud Run if a service needs mails or payments, and has neither their secret nor the choice of their
/// stand-in. Otherwise nobody would notice that customers get no mails and pay nothing.
pub(crate) fn expect_no_silent_stand_in(secrets: &[Secret], cloud: &Cloud) -> Result<(), String> {
    // The emulators are on a developer's machine, where K_SERVICE only selects the format of the log.
    if unchecked("K_SERVICE").is_none() || cloud.is_emulated() {
        return Ok(());
    }
    let choices = [
        (MAIL_URL, "MAIL", "to store mails in the database instead of sending them"),
        (STRIPE_KEY, "PAYMENTS", "to use a local payment gateway that moves no money"),
    ];
    for (secret, choice, purpose) in choices {
        let is_needed = secrets.iter().any(|declared| declared.env == secret.0);
        if is_needed && secret.value().is_none() && !is_stand_in(choice) {
            return Err(format!("{}. Or set {choice}={STAND_IN} {purpose}", secret.missing()));
        }
    }
    Ok(())
}

fn is_stand_in(variable: &'static str) -> bool {
    unchecked(variable).as_deref() == Some(STAND_IN)
}

/// The mail server if `MAIL_URL` is set and `MAIL` is not `local`, otherwise the local mailbox.
pub(crate) fn mailer(ports: &Ports) -> Result<Mailer, String> {
    const FROM: Variable = Variable("MAIL_FROM", "the sender of all mails", "Shop <hello@example.com>");
    match MAIL_URL.value().filter(|_| !is_stand_in("MAIL")) {
        Some(url) => Mailer::smtp(&url, &FROM.required(|_| true)?).map_err(|error| error.to_string()),
        None => Ok(Mailer::local(ports.store.clone(), ports.clock.clone())),
    }
}

/// Stripe if `STRIPE_SECRET_KEY` is set and `PAYMENTS` is not `local`, otherwise the local payment gateway.
/// The faults are those of the local one.
pub(crate) fn gateway(ports: &Ports, faults: &LocalFaults) -> Result<Gateway, String> {
    match STRIPE_KEY.value().filter(|_| !is_stand_in("PAYMENTS")) {
        Some(key) => {
            let base = unchecked("STRIPE_API_BASE").unwrap_or_else(|| "https://api.stripe.com".to_owned());
            Gateway::stripe(&key, &base, ports.clock.clone()).map_err(|error| error.to_string())
        }
        None => Ok(Gateway::local_with(ports.store.clone(), ports.clock.clone(), faults.clone())),
    }
}

/// The time to pay an order of a ticket.
pub(crate) fn ticket_lock_minutes() -> Result<u32, String> {
    let minutes =
        Variable("TICKET_LOCK_MINUTES", "the time to pay an order of a ticket, from 1 to 1440", "15");
    let minutes = minutes.parsed(|text| text.parse().ok().filter(|minutes| (1..=1440).contains(minutes)));
    Ok(minutes?.unwrap_or(ticketing::TICKET_LOCK_MINUTES))
}

/// The time in which a paid order of a ticket can be cancelled.
pub(crate) fn ticket_refund_hours() -> Result<u32, String> {
    const MEANING: &str = "the time in which a paid order of a ticket can be cancelled, from 0 to 8760";
    let hours = Variable("TICKET_REFUND_HOURS", MEANING, "24");
    let hours = hours.parsed(|text| text.parse().ok().filter(|hours| (0..=8760).contains(hours)));
    Ok(hours?.unwrap_or(ticketing::TICKET_REFUND_HOURS))
}

/// The number of load balancers that append their address to `X-Forwarded-For`, after that of the caller.
pub(crate) fn trusted_proxies() -> Result<usize, String> {
    const MEANING: &str =
        "the number of load balancers between Google's front end and the service, from 0 to 9";
    let proxies = Variable("TRUSTED_PROXIES", MEANING, "1");
    Ok(proxies.parsed(|text| text.parse().ok().filter(|count| *count <= 9))?.unwrap_or(0))
}

/// The price of a signup.
pub(crate) fn signup_price() -> Result<Money, String> {
    const PRICE: Variable =
        Variable("SIGNUP_PRICE", "the price of a signup, in the currency's smallest unit (cents)", "1000");
    const CURRENCY: Variable =
        Variable("SIGNUP_CURRENCY", "the currency of that price, as an ISO 4217 code", "usd");
    let minor = PRICE.parsed(|text| text.parse().ok())?.unwrap_or(1000);
    let currency = CURRENCY.value().unwrap_or_else(|| "usd".to_owned());
    Ok(Money { minor, currency: currency.parse().map_err(|_| CURRENCY.malformed(&currency))? })
}

/// The payment method for the price of a signup.
pub(crate) fn signup_payment_method() -> Result<String, String> {
    const METHOD: Variable =
        Variable("SIGNUP_PAYMENT_METHOD", "the payment method that is charged for a signup", "pm_card_visa");
    Ok(METHOD.checked(is_one_word)?.unwrap_or_else(|| "pm_card_visa".to_owned()))
}

/// The value of a variable that is checked elsewhere, or not at all.
fn unchecked(name: &'static str) -> Option<String> {
    Variable(name, "", "").value()
}
