//! Adapters for the outside world: mails and payments. Services call them from their effects.
//!
//! Each adapter has a real form and a local one. The local forms are fakes, and their answers name
//! them as fakes. A fake stores each call as a document, so that people and tests can look at it. A
//! second call with the same idempotency key changes nothing.
//!
//! | to | real | local |
//! |---|---|---|
//! | send a mail | [`mail::Mailer::smtp`] | [`mail::Mailer::local`], the local mailbox |
//! | take a payment | [`payments::Gateway::stripe`] | [`payments::Gateway::local`], the local payment gateway |
//!
//! Two more modules hold what several services share: [`mail::MailEffect`] with the mail history, and
//! the paging over [`shards`].

use std::time::Duration;

use pushbox::Timing;

mod keep;
pub mod mail;
pub mod payments;
pub mod shards;

/// The deadline of one call to the outside.
const CALL_DEADLINE: Duration = Timing::DEFAULT.call;

/// The value of an environment variable is malformed.
///
/// The text names the variable and gives an example. It never shows the value, which may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is malformed: {problem}. It is {meaning}; for example {variable}='{example}'")]
pub struct Misconfigured {
    variable: &'static str,
    problem: &'static str,
    meaning: &'static str,
    example: &'static str,
}
