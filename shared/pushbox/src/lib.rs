//! The runtime of services that handle Pub/Sub events: at least once delivered, handled once.
//!
//! A consumer is a function from an event and a [`Context`] to `Result<(), Failure>`. What it
//! stages is committed in one Firestore commit, together with a *receipt* that says that the event
//! is handled and that holds the events to publish. See `ARCHITECTURE.md` for the whole picture.
//!
//! | to | look at |
//! |---|---|
//! | declare a service | [`Service`], [`Effect`] |
//! | read and stage | [`Context`], [`Created`], [`Document`] |
//! | fail | [`Failure`], [`reject`], [`Problem`] |
//! | take commands by HTTP | [`Command`], [`Reply`], [`FieldErrors`] |
//! | answer questions by HTTP | [`Documents`], [`Page`], [`PageQuery`] |
//! | run a service | [`Service::app`], [`Ports`], [`Clock`], [`Random`], [`PushAuth`], [`Origins`], [`serve`] |
//! | list what there is | [`Catalog`], [`System`] |

mod auth;
mod catalog;
mod claim;
mod clock;
mod command;
mod consume;
mod context;
mod cors;
mod delivery;
mod detach;
mod document;
mod documents;
mod effect;
mod event;
mod failure;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod http;
mod json;
mod key;
mod message;
mod outcome;
mod perform;
mod problem;
pub mod publisher;
mod random;
mod receipt;
mod runtime;
mod service;
pub mod store;
pub mod telemetry;
pub mod timing;
mod trace;
mod transaction;

pub use auth::{Oidc, PushAuth};
pub use catalog::{
    Catalog, DeliveryRules, EventEntry, ReceiptRules, Secret, ServiceEntry, Subscription, System, Timing,
    Topic,
};
pub use clock::Clock;
pub use command::{Command, Reply};
pub use context::{Context, Created};
pub use cors::Origins;
pub use document::{Document, Path};
pub use documents::{Documents, Page, PageQuery, Unfiltered};
pub use effect::Effect;
pub use event::Event;
pub use failure::{Failure, reject};
pub use http::serve;
pub use message::Message;
pub use problem::{FieldErrors, Problem};
pub use random::Random;
pub use runtime::{Ports, Runtime};
pub use service::{Route, Service, ServiceName};

use outcome::Outcome;
