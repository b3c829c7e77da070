//! The local payment gateway: a fake that takes no money, and stores each charge as a document.

use std::sync::Arc;

use jiff::Timestamp;
use pushbox::{Clock, Failure, Path, reject, store::Store};
use serde::{Deserialize, Serialize};

use super::{Outcome, Payment};
use crate::keep::keep_first;

const SERVICE: &str = "local-payment-gateway";
const COLLECTION: &str = "charges";

pub(super) struct LocalGateway {
    store: Arc<dyn Store>,
    clock: Clock,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Charge {
    charged_at: Timestamp,
    payment: Payment,
    outcome: Outcome,
}

impl LocalGateway {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub(super) async fn charge(&self, payment: Payment, key: &str) -> Result<Outcome, Failure> {
        let id = format!("local_{key}");
        let outcome = match decline_code(&payment.method) {
            Some(code) => Outcome::Declined { id: Some(id), code },
            None => Outcome::Paid { id },
        };
        let charge = Charge { charged_at: self.clock.now(), payment: payment.clone(), outcome };
        let kept = keep_first(&*self.store, Path::new(SERVICE, COLLECTION, key), charge).await?;
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
