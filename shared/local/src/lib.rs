//! The local stack: every service in one process, on one port, with a broker that pushes as
//! Pub/Sub's documentation describes. It needs nothing but this binary.
//!
//! | to | see |
//! |---|---|
//! | publish messages and push them | [`Broker`] |
//! | serve all services on one port | [`Stack`] |
//! | use Google's Pub/Sub emulator instead of the broker | [`Emulator`] |
//! | show mails on the page | [`Stack::with_mailbox`], [`Mail`] |
//! | set timers, and offer the API of Cloud Tasks | [`Tasks`] |
//! | control the clock of the deliveries | [`broker::Topics`] |

pub mod broker;
mod emulator;
#[doc(hidden)]
pub mod fuzz;
mod mails;
mod page;
mod pushes;
mod rest;
mod stack;
mod state;
pub mod tasks;

pub use broker::{Broker, DeliveryPolicy};
pub use emulator::{Emulator, ProvisionError};
pub use stack::Stack;
pub use state::{Attachment, Mail};
pub use tasks::Tasks;
