//! The local stack: every service in one process, on one port, with a broker that pushes as
//! Pub/Sub's documentation describes, and a console. It needs nothing but this binary.
//!
//! | to | see |
//! |---|---|
//! | publish messages and push them | [`Broker`] |
//! | serve all services on one port | [`Stack`] |
//! | use Google's Pub/Sub emulator instead of the broker | [`Emulator`] |
//! | kill services and start them again | [`Stack::with_services`], [`Stack::with_fault_points`] |
//! | bound the documents in memory | [`Stack::with_memory`] |
//! | show mails, payments and balances in the console | [`Stack::with_mailbox`], [`Stack::with_payments`], [`Stack::with_balances`] |
//! | offer actions in the console | [`Try`], [`Switch`], [`Stack::with_clock`] |
//! | set timers, and offer the API of Cloud Tasks | [`Tasks`] |
//! | control the clock of the deliveries | [`broker::Topics`] |
//! | show the console of a project or of emulators | [`Deployment`] |

pub mod broker;
mod console;
mod deployment;
mod emulator;
#[doc(hidden)]
pub mod fuzz;
mod journal;
mod mails;
mod process;
mod pushes;
mod rest;
mod room;
mod stack;
mod state;
pub mod tasks;

pub use broker::{Broker, DeliveryPolicy};
pub use console::{Payment, Switch, Try};
pub use deployment::Deployment;
pub use emulator::{Emulator, ProvisionError};
pub use stack::Stack;
pub use state::{Attachment, Mail};
pub use tasks::Tasks;
