//! Adapters for the outside world: what an effect calls.
//!
//! Each has a real form and a local one. The local ones are fakes, and named as such in what they
//! answer: they keep what they were asked for as documents in the store, so that it can be looked
//! at, and so that a repeat with the same idempotency key changes nothing.
//!
//! | to | real | local |
//! |---|---|---|
//! | send a mail | [`mail::Mailer::smtp`] | [`mail::Mailer::local`], the local mailbox |
//! | take a payment | [`payments::Gateway::stripe`] | [`payments::Gateway::local`], the local payment gateway |

use std::time::Duration;

use pushbox::Timing;

mod keep;
pub mod mail;
pub mod payments;

/// The deadline of one call to the outside.
const CALL_DEADLINE: Duration = Timing::DEFAULT.call;

/// A variable of the environment does not hold what it should.
///
/// The text names it and gives an example, but never shows the value: that may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is malformed: {problem}. It is {meaning}; for example {variable}='{example}'")]
pub struct Misconfigured {
    variable: &'static str,
    problem: &'static str,
    meaning: &'static str,
    example: &'static str,
}
