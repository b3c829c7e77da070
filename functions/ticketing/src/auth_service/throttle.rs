//! Throttling of guesses: by account and by network, with a delay that doubles.
//!
//! An attempt is counted before its password is checked. Otherwise many guesses at the same time would all
//! find the same count. A success deletes the account's count. It takes its attempt out of the network's count,
//! together with the delay that the attempt began.
//!
//! Nobody is locked out for good: a count falls by one in each [`RECOVERY`], and it does not grow beyond the
//! longest delay. A network from which an account was used is *familiar* to the account. There, the account has a
//! count of its own, and the network's count does not apply. So neither guesses from elsewhere nor guesses at
//! other accounts in the same network delay the owner.

use axum::http::StatusCode;
use events::EmailAddress;
use jiff::{SignedDuration, Timestamp};
use pushbox::{Context, Document, Documents, Problem};
use serde::{Deserialize, Serialize};

use crate::SigningKey;

/// How many attempts are free, and the longest delay after more.
struct Rule {
    free: u32,
    longest_seconds: u32,
}

const ACCOUNT: Rule = Rule { free: 5, longest_seconds: 60 };

/// Many people can share a network, but their successes do not count. A longer delay than [`RECOVERY`] would never
/// be reached, because the count falls meanwhile.
const NETWORK: Rule = Rule { free: 30, longest_seconds: 120 };

/// In this time, a count falls by one.
const RECOVERY: SignedDuration = SignedDuration::from_mins(2);

/// How long a network stays familiar to an account.
const FAMILIAR: SignedDuration = SignedDuration::from_hours(90 * 24);

/// A count of attempts. Its document may be deleted when the count is 0.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Throttle {
    id: String,
    /// Attempts before this time are refused.
    next_at: Timestamp,
    /// The time at which the count is 0. Each attempt moves it by [`RECOVERY`].
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
    account: Option<Step>,
    network: Option<Step>,
}

/// A count before and after an attempt.
#[derive(Serialize, Deserialize)]
struct Step {
    before: Throttle,
    after: Throttle,
}

impl Attempt {
    pub(super) fn to_sign_in(email: &EmailAddress, network: Option<&str>, key: &SigningKey) -> Self {
        let email = email.as_str();
        Self {
            account: Some(key.derive("throttle account", &[email])),
            network: network.map(|network| key.derive("throttle network", &[network])),
            pair: network.map(|network| key.derive("throttle pair", &[email, network])),
        }
    }

    /// There is no account yet, so the attempt counts for its network only.
    pub(super) fn to_sign_up(email: &EmailAddress, network: Option<&str>, key: &SigningKey) -> Self {
        Self { account: None, ..Self::to_sign_in(email, network, key) }
    }

    /// Refuses the attempt if it comes too early. This only reads, so that refused attempts are cheap, however many
    /// there are. [`count`](Self::count) decides.
    pub(super) async fn check(&self, documents: &Documents) -> Result<(), Problem> {
        let now = documents.now();
        let familiar: Option<Familiar> = match self.familiar_id() {
            Some(id) => documents.get(id).await?,
            None => None,
        };
        let (account, network) = self.counts(familiar.as_ref(), now);
        for id in account.into_iter().chain(network) {
            let count: Option<Throttle> = documents.get(id).await?;
            count.map_or(Ok(()), |count| count.check(now))?;
        }
        Ok(())
    }

    /// Counts the attempt, or refuses it.
    pub(super) async fn count(self, cx: &Context) -> Result<Counted, Problem> {
        let familiar: Option<Familiar> = match self.familiar_id() {
            Some(id) => cx.get(id).await?,
            None => None,
        };
        let (account, network) = self.counts(familiar.as_ref(), cx.now());
        Ok(Counted {
            account: Step::take(account, &ACCOUNT, cx).await?,
            network: Step::take(network, &NETWORK, cx).await?,
        })
    }

    /// Takes back a counted attempt that succeeded, and remembers the network. The account's count begins anew.
    pub(super) async fn forgive(&self, counted: &Counted, cx: &Context) -> Result<(), Problem> {
        if let Some(Step { after, .. }) = &counted.account {
            cx.delete::<Throttle>(&after.id);
        }
        if let Some(Step { before, after }) = &counted.network
            && let Some(mut count) = cx.get::<Throttle>(&after.id).await?
        {
            // Firestore keeps microseconds of `expire_at`, so it does not tell.
            if count.next_at == after.next_at {
                cx.put(before);
            } else {
                // A later attempt was counted, and its delay stays.
                count.expire_at = later(count.expire_at, -RECOVERY);
                cx.put(&count);
            }
        }
        self.remember(cx);
        Ok(())
    }

    /// Makes the network familiar to the account.
    pub(super) fn remember(&self, cx: &Context) {
        if let Some(id) = self.pair.clone() {
            cx.put(&Familiar { id, expire_at: later(cx.now(), FAMILIAR) });
        }
    }

    /// The document that says whether the network is familiar to the account.
    fn familiar_id(&self) -> Option<&String> {
        self.account.as_ref().and(self.pair.as_ref())
    }

    /// The ids of the account's and the network's count.
    fn counts(&self, familiar: Option<&Familiar>, now: Timestamp) -> (Option<&str>, Option<&str>) {
        if familiar.is_some_and(|familiar| now < familiar.expire_at) {
            return (self.pair.as_deref(), None);
        }
        (self.account.as_deref(), self.network.as_deref())
    }
}

impl Step {
    /// Stages the next attempt of a count, or refuses it.
    async fn take(id: Option<&str>, rule: &Rule, cx: &Context) -> Result<Option<Self>, Problem> {
        let Some(id) = id else { return Ok(None) };
        let now = cx.now();
        let none = || Throttle { id: id.to_owned(), next_at: now, expire_at: now };
        let before: Throttle = cx.get(id).await?.unwrap_or_else(none);
        before.check(now)?;
        let after = before.next(rule, now);
        cx.put(&after);
        Ok(Some(Self { before, after }))
    }
}

impl Throttle {
    /// Refuses an attempt that comes too early.
    fn check(&self, now: Timestamp) -> Result<(), Problem> {
        let wait = self.next_at.duration_since(now);
        if !wait.is_positive() {
            return Ok(());
        }
        let seconds = whole_seconds(wait);
        let detail = format!("There were too many attempts. Please try again in {seconds} seconds.");
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds))
    }

    /// With one attempt more.
    fn next(&self, rule: &Rule, now: Timestamp) -> Self {
        let all = later(self.expire_at.max(now), RECOVERY);
        let expire_at = all.min(later(now, RECOVERY * rule.most()));
        let count = Self { id: self.id.clone(), next_at: now, expire_at };
        Self { next_at: later(now, rule.delay(count.attempts(now))), ..count }
    }

    fn attempts(&self, now: Timestamp) -> u64 {
        whole_seconds(self.expire_at.duration_since(now)).div_ceil(RECOVERY.as_secs().unsigned_abs())
    }
}

impl Rule {
    /// The delay after this number of attempts.
    fn delay(&self, attempts: u64) -> SignedDuration {
        let Some(doublings) = attempts.checked_sub(self.free.into()) else { return SignedDuration::ZERO };
        let longest = i64::from(self.longest_seconds);
        SignedDuration::from_secs(longest.min(1 << doublings.min(31)))
    }

    /// The number of attempts after which the delay is longest.
    fn most(&self) -> i32 {
        (self.free + self.longest_seconds.next_power_of_two().ilog2()).cast_signed()
    }
}

/// Rounded up. 0 if the time is negative.
fn whole_seconds(time: SignedDuration) -> u64 {
    let seconds = time.as_secs() + i64::from(time.subsec_nanos() > 0);
    seconds.try_into().unwrap_or(0)
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
