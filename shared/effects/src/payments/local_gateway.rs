//! The local payment gateway: a fake that moves no money, and stores each charge, refund and cancellation as
//! a document.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;
use pushbox::{
    Clock, Failure, Path, reject,
    store::{Change, Fields, Precondition, Query, Store, StoreError, Write},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Cancellation, LocalFaults, Outcome, Payment, Refund, RefundOutcome,
    deadline::{Opened, TOO_LATE},
};
use crate::keep::keep_first;

/// The name of the fake in the paths of its documents.
pub const LOCAL_GATEWAY: &str = "local-payment-gateway";

const CHARGES: &str = "charges";
const INTENTS: &str = "intents";
const REFUNDS: &str = "refunds";
const CANCELLATIONS: &str = "cancellations";

/// The ids of charges and refunds are their keys after this.
const PREFIX: &str = "local_";

/// The payment method whose refunds fail, as [at Stripe](https://docs.stripe.com/testing#refunds).
const REFUND_FAILS: &str = "pm_card_refundFail";

pub(super) struct LocalGateway {
    store: Arc<dyn Store>,
    clock: Clock,
    faults: LocalFaults,
}

/// A charge at the local payment gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalCharge {
    /// The time of the first attempt.
    pub charged_at: Timestamp,
    /// What was charged.
    pub payment: Payment,
    /// The outcome, which every attempt with the same key gets.
    pub outcome: Outcome,
    /// The number of attempts.
    #[serde(default)]
    pub asked: u64,
}

/// Reads the charges: up to `limit` of them, with keys greater than `after`, in the order of the keys. The keys are
/// random.
///
/// # Errors
/// The store fails, or holds something that is not a charge.
pub async fn local_charges(
    store: &dyn Store,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, LocalCharge)>, StoreError> {
    let collection = Path::collection_of(LOCAL_GATEWAY, CHARGES);
    let query = Query { collection, filters: Vec::new(), after: after.map(str::to_owned), limit };
    let read = |fields| serde_json::from_value(fields).map_err(|_| StoreError("not a charge".to_owned()));
    store.list(&query).await?.into_iter().map(|stored| Ok((stored.id, read(stored.fields.into())?))).collect()
}

/// A charge that is opened. It is paid if there is a [`LocalCharge`] that says so.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intent {
    opened_at: Timestamp,
    payment: Payment,
}

/// A refund or a cancellation, with what it was asked for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reversal<A, O> {
    made_at: Timestamp,
    #[serde(flatten)]
    asked: A,
    outcome: O,
}

/// The charge that a cancellation is for.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cancel {
    charge_id: String,
}

impl LocalGateway {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock, faults: LocalFaults) -> Self {
        Self { store, clock, faults }
    }

    pub(super) async fn charge(&self, payment: Payment, key: &str) -> Result<Outcome, Failure> {
        let id = format!("{PREFIX}{key}");
        let faulty = || self.faults.declines.load(Ordering::Relaxed).then(|| "generic_decline".to_owned());
        let outcome = match decline_code(&payment.method).or_else(faulty) {
            Some(code) => Outcome::Declined { id: Some(id), code },
            None => Outcome::Paid { id },
        };
        let outcome = self.decide(payment, outcome, key).await?;
        let change = Change::Add { fields: Fields::new(), amounts: [("asked".to_owned(), 1)].into() };
        let path = Path::new(LOCAL_GATEWAY, CHARGES, key);
        // For people only: without it, the charge is as good.
        let _ = self.store.commit(&[Write { path, change, only_if: Precondition::None }]).await;
        if self.faults.hangs.load(Ordering::Relaxed) {
            // The caller gives up, or the runtime cuts the call off.
            pending::<()>().await;
        }
        Ok(outcome)
    }

    pub(super) async fn open(&self, payment: &Payment, key: &str) -> Result<Opened, Failure> {
        let intent = Intent { opened_at: self.clock.now(), payment: payment.clone() };
        let kept = keep_first(&*self.store, Path::new(LOCAL_GATEWAY, INTENTS, key), intent).await?;
        let id = format!("{PREFIX}{key}");
        if kept.payment == *payment { Ok(Opened::Open { id }) } else { Err(key_was_used()) }
    }

    pub(super) async fn call_off(&self, payment: Payment, key: &str) -> Result<Outcome, Failure> {
        let outcome = Outcome::Declined { id: None, code: TOO_LATE.to_owned() };
        self.decide(payment, outcome, key).await
    }

    /// Keeps the first outcome of a charge.
    async fn decide(&self, payment: Payment, outcome: Outcome, key: &str) -> Result<Outcome, Failure> {
        let charge =
            LocalCharge { charged_at: self.clock.now(), payment: payment.clone(), outcome, asked: 0 };
        let kept = keep_first(&*self.store, Path::new(LOCAL_GATEWAY, CHARGES, key), charge).await?;
        if kept.payment == payment { Ok(kept.outcome) } else { Err(key_was_used()) }
    }

    pub(super) async fn refund(&self, refund: Refund, key: &str) -> Result<RefundOutcome, Failure> {
        let LocalCharge { payment, outcome, .. } = self.find(&refund.charge_id).await?;
        if !matches!(outcome, Outcome::Paid { .. }) {
            return Err(reject("the local payment gateway: the charge is not paid"));
        }
        let outcome = match self.earlier_refund(&refund).await? {
            Some(earlier) => earlier,
            None if payment.amount != refund.amount => {
                return Err(reject("the local payment gateway: a refund gives back the whole amount"));
            }
            None if payment.method == REFUND_FAILS => {
                RefundOutcome::Failed { code: "expired_or_canceled_card".to_owned() }
            }
            None => RefundOutcome::Refunded { id: format!("{PREFIX}{key}") },
        };
        self.reverse(REFUNDS, key, refund, outcome).await
    }

    pub(super) async fn cancel(&self, charge_id: String, key: &str) -> Result<Cancellation, Failure> {
        let outcome = match self.find(&charge_id).await?.outcome {
            Outcome::Paid { .. } => Cancellation::Paid,
            Outcome::Declined { .. } => Cancellation::Cancelled,
        };
        self.reverse(CANCELLATIONS, key, Cancel { charge_id }, outcome).await
    }

    async fn find(&self, charge_id: &str) -> Result<LocalCharge, Failure> {
        let no_charge = || reject("the local payment gateway: resource_missing");
        let key = charge_id.strip_prefix(PREFIX).ok_or_else(no_charge)?;
        let found = self.store.get(&Path::new(LOCAL_GATEWAY, CHARGES, key)).await?.ok_or_else(no_charge)?;
        Ok(serde_json::from_value(found.fields.into())?)
    }

    /// The outcome of a refund that has given the charge back before, with whatever key.
    async fn earlier_refund(&self, refund: &Refund) -> Result<Option<RefundOutcome>, Failure> {
        let filters = vec![("chargeId", refund.charge_id.as_str().into())];
        let collection = Path::collection_of(LOCAL_GATEWAY, REFUNDS);
        let found = self.store.list(&Query { collection, filters, after: None, limit: 100 }).await?;
        for stored in found {
            let earlier: Reversal<Refund, RefundOutcome> = serde_json::from_value(stored.fields.into())?;
            if matches!(earlier.outcome, RefundOutcome::Refunded { .. }) {
                return Ok(Some(earlier.outcome));
            }
        }
        Ok(None)
    }

    /// Keeps the first refund or cancellation with a key.
    async fn reverse<A, O>(&self, collection: &str, key: &str, asked: A, outcome: O) -> Result<O, Failure>
    where
        A: Clone + PartialEq + Serialize + DeserializeOwned,
        O: Serialize + DeserializeOwned,
    {
        let reversal = Reversal { made_at: self.clock.now(), asked: asked.clone(), outcome };
        let kept = keep_first(&*self.store, Path::new(LOCAL_GATEWAY, collection, key), reversal).await?;
        if kept.asked != asked { Err(key_was_used()) } else { Ok(kept.outcome) }
    }
}

fn key_was_used() -> Failure {
    reject("the local payment gateway: idempotency_error")
}

/// The code with which a payment method is declined: `insufficient_funds` for
/// `pm_card_visa_chargeDeclinedInsufficientFunds`. `None` if it is not declined.
fn decline_code(method: &str) -> Option<String> {
    let (_, reason) = method.split_once("chargeDeclined")?;
    let mut code = String::new();
    for letter in reason.chars() {
        if letter.is_ascii_uppercase() && !code.is_empty() {
            code.push('_');
        }
        code.push(letter.to_ascii_lowercase());
    }
    Some(if code.is_empty() { "generic_decline".to_owned() } else { code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payment_method_names_its_decline_code() {
        for (method, expected) in [
            ("pm_card_visa", None),
            ("pm_card_visa_chargeDeclined", Some("generic_decline")),
            ("pm_card_visa_chargeDeclinedInsufficientFunds", Some("insufficient_funds")),
            ("pm_card_chargeDeclinedExpiredCard", Some("expired_card")),
        ] {
            assert_eq!(decline_code(method).as_deref(), expected, "{method}");
        }
    }
}
