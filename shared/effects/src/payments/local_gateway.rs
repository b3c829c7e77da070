//! The local payment gateway: a fake that takes no money, and stores each charge as a document.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;
use pushbox::{
    Clock, Failure, Path, reject,
    store::{Query, Store, StoreError},
};
use serde::{Deserialize, Serialize};

use super::{LocalFaults, Outcome, Payment};
use crate::keep::keep_first;

const SERVICE: &str = "local-payment-gateway";
const COLLECTION: &str = "charges";

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
    let collection = Path::collection_of(SERVICE, COLLECTION);
    let query = Query { collection, filters: Vec::new(), after: after.map(str::to_owned), limit };
    let read = |fields| serde_json::from_value(fields).map_err(|_| StoreError("not a charge".to_owned()));
    store.list(&query).await?.into_iter().map(|stored| Ok((stored.id, read(stored.fields.into())?))).collect()
}

impl LocalGateway {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock, faults: LocalFaults) -> Self {
        Self { store, clock, faults }
    }

    pub(super) async fn charge(&self, payment: Payment, key: &str) -> Result<Outcome, Failure> {
        let id = format!("local_{key}");
        let faulty = || self.faults.declines.load(Ordering::Relaxed).then(|| "generic_decline".to_owned());
        let outcome = match decline_code(&payment.method).or_else(faulty) {
            Some(code) => Outcome::Declined { id: Some(id), code },
            None => Outcome::Paid { id },
        };
        let charge = LocalCharge { charged_at: self.clock.now(), payment: payment.clone(), outcome };
        let kept = keep_first(&*self.store, Path::new(SERVICE, COLLECTION, key), charge).await?;
        if self.faults.hangs.load(Ordering::Relaxed) {
            // The runtime cuts the call off.
            pending::<()>().await;
        }
        if kept.payment != payment {
            return Err(reject("the local payment gateway: idempotency_error"));
        }
        Ok(kept.outcome)
    }
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
