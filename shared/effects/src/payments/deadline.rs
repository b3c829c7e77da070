//! Charges with a deadline: each is opened first, which takes no money, and is then confirmed or called off.

use jiff::{SignedDuration, Timestamp};
use pushbox::{Failure, reject};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Adapter, Gateway, Outcome, Payment};
use crate::CALL_DEADLINE;

/// The times of a charge that must not take money late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadline {
    /// No money is taken after this.
    pub until: Timestamp,
    /// A time before the first use of the charge's key.
    pub begun_at: Timestamp,
}

/// The answer to opening a charge.
pub(super) enum Opened {
    /// It takes no money until it is confirmed. A charge that was opened before has the same id.
    Open {
        /// The charge's id at the gateway.
        id: String,
    },
    /// It cannot be paid.
    Declined(Outcome),
}

/// The code of a charge that was called off.
pub(super) const TOO_LATE: &str = "too_late";

/// A charge is confirmed only if at least this much time is left. A request to confirm it ends sooner.
const LEAST_TIME_LEFT: SignedDuration = SignedDuration::from_secs(8);

const _: () = assert!(LEAST_TIME_LEFT.as_millis() >= CALL_DEADLINE.as_millis() as i128);

/// Stripe remembers a key for at least 24 hours. This leaves an hour for clocks that differ.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(23);

impl Gateway {
    /// Like [`charge`](Self::charge), but takes no money after the deadline. Then the charge is declined with the
    /// code `too_late`, unless an earlier attempt has taken the money: then it is paid.
    ///
    /// It makes two calls. The first one opens the charge, and a repeat with the same `key` opens no second one.
    /// The second one confirms it or, if the time has passed, calls it off. The gateway refuses to confirm a charge
    /// that is called off, so a request that was delayed on its way takes no money. It also refuses to call off a
    /// charge that is paid.
    ///
    /// # Errors
    /// As [`charge`](Self::charge). [`Failure::Reject`] also 23 hours after [`Deadline::begun_at`]. The gateway
    /// may have forgotten the key by then. It would open a second charge, and nobody would learn of the first.
    pub async fn charge_until(
        self,
        payment: Payment,
        deadline: Deadline,
        key: String,
    ) -> Result<Outcome, Failure> {
        if self.clock.now().duration_since(deadline.begun_at) > REMEMBERED {
            let reference = payment.reference;
            return Err(reject(format_args!(
                "this charge began more than 23 hours ago, so the payment gateway may have forgotten it: look for \
                 the reference {reference} there"
            )));
        }
        let charge = async {
            let id = match self.open(&payment, &key).await? {
                Opened::Open { id } => id,
                Opened::Declined(declined) => return Ok(declined),
            };
            if deadline.until.duration_since(self.clock.now()) >= LEAST_TIME_LEFT {
                self.confirm(id, payment, &key).await
            } else {
                self.call_off(id, payment, &key).await
            }
        };
        let late = |_| Err(Failure::Retry("the payment gateway did not answer in time".to_owned()));
        timeout(CALL_DEADLINE, charge).await.unwrap_or_else(late)
    }

    async fn open(&self, payment: &Payment, key: &str) -> Result<Opened, Failure> {
        match &*self.adapter {
            Adapter::Stripe(stripe) => stripe.open(payment, key).await,
            Adapter::Local(gateway) => gateway.open(payment, key).await,
        }
    }

    async fn confirm(&self, id: String, payment: Payment, key: &str) -> Result<Outcome, Failure> {
        match &*self.adapter {
            Adapter::Stripe(stripe) => stripe.confirm(id, &payment, key).await,
            Adapter::Local(gateway) => gateway.charge(payment, key).await,
        }
    }

    /// Cancels a charge that nobody confirms any more, or tells what has become of it.
    async fn call_off(&self, id: String, payment: Payment, key: &str) -> Result<Outcome, Failure> {
        match &*self.adapter {
            Adapter::Stripe(stripe) => stripe.call_off(id, &payment, key).await,
            Adapter::Local(gateway) => gateway.call_off(payment, key).await,
        }
    }
}
