//! A runtime for services that handle events pushed by Pub/Sub. An event is delivered at least once, and handled once.
//!
//! A consumer is a function, the *handler*, from an event and a [`Context`] to `Result<(), Failure>`. The handler
//! stages writes and events in the context. The runtime commits the writes together with the event's *receipt*, which
//! holds the staged events. Then the runtime publishes these events. The handler may run several times, but only one
//! run is committed. That is what *handled once* means.
//!
//! A *duplicate* is a delivery with the `ce-source` and the `ce-id` of an earlier delivery. If one of these attributes
//! is missing, the subscription and the message id take their place. Another event about the same thing is not a
//! duplicate: the handler decides what that event does, usually with [`Context::create`].
//!
//! - A duplicate runs the handler again, even while the first delivery is running. Only one commit can create the
//!   receipt, so the store refuses the second one. The runtime then publishes the events of the receipt again, with
//!   the same ids, and answers 204.
//! - If the process dies before the commit, nothing is stored, and Pub/Sub delivers the message again. If it dies
//!   after the commit, or if the publication fails (503), the next delivery is a duplicate and publishes the events.
//! - After a [`Failure::Retry`] (503) or a panic (500), Pub/Sub delivers the message again. If delivery 95 fails, too,
//!   the runtime moves the message to the service's dead-letter topic.
//! - A handler returns [`Failure::Reject`] for an event that can never succeed. The runtime moves the message to the
//!   dead-letter topic at once (204). No receipt exists, so a duplicate is handled like a new event. It may become a
//!   second dead letter.
//!
//! A call to the outside, such as a mail, is an [`Effect`]. A duplicate of the event that caused the call waits for the
//! outcome, at most 12 s (then 503). If the call ends with [`Failure::Retry`], or the first delivery stores no outcome
//! for 20 s, a duplicate makes the call with the same idempotency key. If the outside refuses the call for good, the
//! message and each duplicate become dead letters. After the outcome is recorded, a duplicate does the same as above.
//!
//! A request that changes documents is a [`Command`]. A repeat with the same idempotency key gets the first reply, or
//! 422 if its body differs; without a key, it is a new request. Only successful replies are stored. After an error, repeat the request with
//! the same key: if the first commit succeeded, the caller gets the first reply. If the process dies after the commit,
//! or if the publication fails, `POST /relay` publishes the events. Cloud Scheduler calls this route every minute.
//!
//! | to | see |
//! |---|---|
//! | declare a service | [`Service`], [`System`] |
//! | define events and documents | [`Event`], [`Document`] |
//! | read documents, and stage writes and events | [`Context`], [`Created`] |
//! | end a handler with a failure | [`Failure`], [`reject`] |
//! | call the outside | [`Effect`] |
//! | accept commands by HTTP | [`Command`], [`Reply`], [`Problem`], [`FieldErrors`] |
//! | know the caller | [`SignedIn`], [`Confirmed`], [`AccessTokens`], [`revoke`] |
//! | answer queries by HTTP | [`Documents`], [`Page`], [`PageQuery`] |
//! | run a service | [`Service::app`], [`Ports`], [`Timing`], [`PushAuth`], [`Origins`], [`serve`] |
//! | test a service | [`Clock`], [`Offset`], [`Random`], [`store::Memory`], [`Crash`] |
//! | publish at a later time | [`Context::publish_at`], [`Context::cancel`], [`Service::delays`] |
//! | implement a database, a topic or timers | [`store::Store`], [`store_contract!`], [`publisher::Publisher`], [`timers::Timers`] |
//! | find what an event has caused | [`story`] |
//! | compare counts | [`audit`] |
//! | repair dead letters | [`letters`], [`wire`] |
//! | describe services | [`Service::declaration`] |
//!
//! The crate's README shows a complete consumer. `examples/` holds the smallest consumer, effect and producer.

pub mod audit;
mod auth;
mod claim;
mod clock;
mod command;
mod consume;
mod context;
mod cors;
mod dead_letter;
mod delivery;
mod detach;
mod document;
mod effect;
mod event;
mod failure;
mod fault;
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod http;
mod json;
mod key;
pub mod letters;
mod listing;
mod message;
mod origin;
mod outcome;
mod perform;
mod problem;
pub mod publisher;
mod random;
mod receipt;
mod relay;
mod runtime;
mod service;
mod signed_in;
pub mod store;
pub mod story;
pub mod telemetry;
pub mod timers;
mod timing;
mod trace;
mod transaction;
pub mod wire;

#[cfg(feature = "oidc")]
pub use auth::Oidc;
pub use auth::PushAuth;
pub use clock::{Clock, Offset};
pub use command::{Command, Reply};
pub use context::{Context, Created};
pub use cors::Origins;
pub use document::{Document, Path};
pub use effect::Effect;
pub use event::Event;
pub use failure::{Failure, reject};
pub use fault::Crash;
pub use http::{serve, told_to_stop};
pub use listing::{Documents, Page, PageQuery, Unfiltered};
pub use message::Message;
pub use problem::{FieldErrors, Problem};
pub use random::Random;
pub use runtime::{Ports, Runtime};
pub use service::{Declaration, EventType, Route, Service, ServiceName, System};
pub use signed_in::{AccessTokens, Confirmed, SignedIn, revoke};
pub use timing::Timing;

use outcome::Outcome;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
