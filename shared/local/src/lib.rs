//! The local stack: every service in one process, on one port, with a broker that pushes as
//! Pub/Sub documents it. It needs nothing but this binary.
//!
//! | to | look at |
//! |---|---|
//! | publish, and have it pushed | [`Broker`] |
//! | serve all services on one port | [`Stack`] |
//! | use Google's Pub/Sub emulator instead | [`Emulator`] |
//! | show mails on the page | [`Stack::with_mailbox`], [`Mail`] |
//! | deliver with a clock of one's own | [`broker::Topics`] |

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

pub use broker::{Broker, DeliveryPolicy};
pub use emulator::{Emulator, ProvisionError};
pub use stack::Stack;
pub use state::{Attachment, Mail};
