//! Throttling of guesses: by account and by network, with a delay that doubles.
//!
//! An attempt is counted before its password is checked. Otherwise many guesses at the same time would all
//! find the same count. A success takes its attempt back. No delay grows beyond its rule's longest, so
//! nobody is locked out for good. A network from which an account was used before has a count of its own for
//! that account, so guesses from elsewhere do not delay its owner.

use axum::http::StatusCode;
use events::EmailAddress;
use jiff::{SignedDuration, Timestamp};
use pushbox::{Context, Document, Problem};
use serde::{Deserialize, Serialize};

use crate::SigningKey;

/// How many attempts are free, and the longest delay after more.
struct Rule {
    free: u32,
    longest_seconds: i64,
}

const ACCOUNT: Rule = Rule { free: 5, longest_seconds: 60 };

/// Many people can share a network, but their successes do not count.
const NETWORK: Rule = Rule { free: 30, longest_seconds: 15 * 60 };

/// After this time without an attempt, a count begins anew.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

/// How long a network stays familiar to an account.
const FAMILIAR: SignedDuration = SignedDuration::from_hours(90 * 24);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Throttle {
    id: String,
    attempts: u32,
    last_at: Timestamp,
    expire_at: Timestamp,
}

/// A network from which an account was used.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Familiar {
    id: String,
    expire_at: Timestamp,
}

/// What an attempt is counted for. The ids are digests, because addresses are personal data.
#[derive(Clone)]
pub(super) struct Attempt {
    account: Option<String>,
    network: Option<String>,
    /// The account together with the network.
    pair: Option<String>,
}

/// The counts that hold an attempt.
#[derive(Serialize, Deserialize)]
pub(super) struct Counted {
    account: Option<String>,
    network: Option<String>,
}

impl Attempt {
    /// A sign-up has no account yet.
    pub(super) fn new(account: Option<&EmailAddress>, network: Option<&str>, key: &SigningKey) -> Self {
        let email = account.map(EmailAddress::as_str);
        let pair = email.zip(network).map(|(email, network)| key.derive("throttle pair", &[email, network]));
        Self {
            account: email.map(|email| key.derive("throttle account", &[email])),
            network: network.map(|network| key.derive("throttle network", &[network])),
            pair,
        }
    }

    /// Counts the attempt, or refuses it.
    pub(super) async fn count(self, cx: &Context) -> Result<Counted, Problem> {
        let familiar = match &self.pair {
            Some(pair) => {
                cx.get::<Familiar>(pair).await?.is_some_and(|familiar| cx.now() < familiar.expire_at)
            }
            None => false,
        };
        let account = if familiar { self.pair } else { self.account };
        let counts = [(&account, ACCOUNT), (&self.network, NETWORK)];
        let mut found = Vec::new();
        for (id, rule) in counts {
            let Some(id) = id else { continue };
            let count = cx.get::<Throttle>(id).await?.filter(|count| !count.is_forgotten(cx.now()));
            let count = count.unwrap_or_else(|| Throttle::none(id, cx.now()));
            count.check(&rule, cx.now())?;
            found.push(count);
        }
        for mut count in found {
            count.attempts += 1;
            (count.last_at, count.expire_at) = (cx.now(), later(cx.now(), FORGOTTEN));
            cx.put(&count);
        }
        Ok(Counted { account, network: self.network })
    }

    /// Takes back a counted attempt that succeeded, and remembers the network.
    pub(super) async fn forgive(&self, counted: &Counted, cx: &Context) -> Result<(), Problem> {
        if let Some(account) = &counted.account {
            cx.delete::<Throttle>(account);
        }
        if let Some(network) = &counted.network
            && let Some(mut count) = cx.get::<Throttle>(network).await?
        {
            count.attempts = count.attempts.saturating_sub(1);
            cx.put(&count);
        }
        if let Some(id) = self.pair.clone() {
            cx.put(&Familiar { id, expire_at: later(cx.now(), FAMILIAR) });
        }
        Ok(())
    }
}

impl Throttle {
    fn none(id: &str, now: Timestamp) -> Self {
        Self { id: id.to_owned(), attempts: 0, last_at: now, expire_at: now }
    }

    fn is_forgotten(&self, now: Timestamp) -> bool {
        now >= later(self.last_at, FORGOTTEN)
    }

    /// Nobody learns here whether there is such an account.
    fn check(&self, rule: &Rule, now: Timestamp) -> Result<(), Problem> {
        let Some(doublings) = self.attempts.checked_sub(rule.free) else { return Ok(()) };
        let delay = 1_i64.checked_shl(doublings.min(30)).unwrap_or(i64::MAX).min(rule.longest_seconds);
        let wait = later(self.last_at, SignedDuration::from_secs(delay)).duration_since(now);
        if !wait.is_positive() {
            return Ok(());
        }
        let seconds = wait.as_secs().unsigned_abs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!("There were too many attempts. Please try again in {seconds} seconds.");
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds))
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

impl Document for Throttle {
    const COLLECTION: &'static str = "throttles";
    fn id(&self) -> String {
        self.id.clone()
    }
}

impl Document for Familiar {
    const COLLECTION: &'static str = "familiar";
    fn id(&self) -> String {
        self.id.clone()
    }
}
