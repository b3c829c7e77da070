//! Sessions: the time from a sign-in to its sign-out.
//!
//! A session's cookie has a new value after each refresh, its *generation*. The service stores hashes of the
//! current and the previous value. It can compute each value again from the signing key and the session's salt,
//! and so tells an old value, which only a copy of the cookie can have, from a made-up one.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use events::{RevocationReason, SessionId, SessionRevoked, UserId};
use jiff::{SignedDuration, Timestamp};
use pushbox::{Context, Document, Failure};
use serde::{Deserialize, Serialize};

use crate::SigningKey;

/// A session ends after this time without a refresh.
pub(super) const IDLE_SECONDS: i64 = 7 * 24 * 60 * 60;

/// A session ends after this time in any case.
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// After a refresh, the previous value is still good for this long: the answer may have been lost, or two
/// pages of a browser may refresh at the same time. It gets the same new value, so no second line of values
/// begins. A caller with an idempotency key needs no such time.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    pub(super) session_id: SessionId,
    pub(super) user_id: UserId,
    generation: u64,
    /// Random. Without it, a stolen signing key makes no cookie.
    salt: String,
    /// The SHA-256 of the current value's secret.
    hash: String,
    /// The same of the previous value, which may have been made with another signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_hash: Option<String>,
    created_at: Timestamp,
    refreshed_at: Timestamp,
    has_ended: bool,
    expire_at: Timestamp,
}

/// The value of a session's cookie.
pub(super) struct Ticket {
    pub(super) session_id: SessionId,
    generation: u64,
    secret: String,
}

/// A session and its generation: what a receipt may hold, instead of a [`Ticket`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Opened {
    pub(super) session_id: SessionId,
    generation: u64,
}

/// What a ticket is worth.
pub(super) enum Standing {
    Current,
    /// The value before the current one, within [`GRACE`].
    Previous,
    /// An old value: somebody has a copy of the cookie.
    Reused,
    /// The session has ended, or the ticket is made up.
    Void,
}

impl Ticket {
    fn of(opened: &Opened, salt: &str, key: &SigningKey) -> Self {
        let Opened { session_id, generation } = opened;
        let secret = key.derive("session", &[session_id.as_str(), &generation.to_string(), salt]);
        Self { session_id: session_id.clone(), generation: *generation, secret }
    }

    fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.secret.as_bytes()))
    }
}

impl Session {
    /// Stages a new session.
    pub(super) fn open(
        user_id: UserId,
        salt: String,
        key: &SigningKey,
        cx: &Context,
    ) -> Result<Opened, Failure> {
        let opened = Opened { session_id: cx.new_id().parse()?, generation: 0 };
        let session = Self {
            session_id: opened.session_id.clone(),
            user_id,
            generation: opened.generation,
            hash: Ticket::of(&opened, &salt, key).hash(),
            previous_hash: None,
            salt,
            created_at: cx.now(),
            refreshed_at: cx.now(),
            has_ended: false,
            expire_at: later(cx.now(), LONGEST),
        };
        cx.create(&session).require_new()?;
        Ok(opened)
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        let idle = SignedDuration::from_secs(IDLE_SECONDS);
        !self.has_ended && now < later(self.refreshed_at, idle) && now < later(self.created_at, LONGEST)
    }

    /// Whether it is live, and no later generation was issued.
    pub(super) fn is_at(&self, opened: &Opened, now: Timestamp) -> bool {
        self.is_live(now) && self.generation == opened.generation
    }

    pub(super) fn standing(&self, ticket: &Ticket, key: &SigningKey, now: Timestamp) -> Standing {
        let is_same = |a: &str, b: &str| verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok();
        if !self.is_live(now) {
            return Standing::Void;
        }
        let is_previous = ticket.generation + 1 == self.generation;
        let issued = match &self.previous_hash {
            _ if ticket.generation > self.generation => return Standing::Void,
            _ if ticket.generation == self.generation => self.hash.clone(),
            Some(previous) if is_previous => previous.clone(),
            _ => self.ticket(ticket.generation, key).hash(),
        };
        if !is_same(&ticket.hash(), &issued) {
            return Standing::Void;
        }
        if ticket.generation == self.generation {
            Standing::Current
        } else if is_previous && now < later(self.refreshed_at, GRACE) {
            Standing::Previous
        } else {
            Standing::Reused
        }
    }

    /// Stages the next generation.
    pub(super) fn refresh(mut self, key: &SigningKey, cx: &Context) -> Opened {
        self.generation += 1;
        let hash = self.ticket(self.generation, key).hash();
        self.previous_hash = Some(std::mem::replace(&mut self.hash, hash));
        self.refreshed_at = cx.now();
        cx.put(&self);
        self.opened()
    }

    /// The current value. `None` if another signing key made it, during a rotation.
    pub(super) fn current(&self, key: &SigningKey) -> Option<Ticket> {
        Some(self.ticket(self.generation, key)).filter(|ticket| ticket.hash() == self.hash)
    }

    fn ticket(&self, generation: u64, key: &SigningKey) -> Ticket {
        Ticket::of(&Opened { session_id: self.session_id.clone(), generation }, &self.salt, key)
    }

    pub(super) fn opened(&self) -> Opened {
        Opened { session_id: self.session_id.clone(), generation: self.generation }
    }

    /// Stages the end of the session, for everybody who holds a cookie of it.
    pub(super) fn end(mut self, reason: RevocationReason, cx: &Context) {
        self.has_ended = true;
        cx.put(&self);
        let Self { user_id, session_id, .. } = self;
        cx.publish(&SessionRevoked { user_id, session_id, reason });
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// The value is not a ticket.
#[derive(Debug)]
pub(super) struct NoTicket;

impl FromStr for Ticket {
    type Err = NoTicket;
    fn from_str(text: &str) -> Result<Self, NoTicket> {
        let mut parts = text.split('.');
        let (Some(id), Some(generation), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoTicket);
        };
        let generation = generation.parse().ok().filter(|generation| *generation < u64::from(u32::MAX));
        Ok(Self {
            session_id: id.parse().map_err(|_| NoTicket)?,
            generation: generation.ok_or(NoTicket)?,
            secret: secret.to_owned(),
        })
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.session_id, self.generation, self.secret)
    }
}

impl Document for Session {
    const COLLECTION: &'static str = "sessions";
    fn id(&self) -> String {
        self.session_id.to_string()
    }
}
