//! The meaning of Stripe's answers (<https://docs.stripe.com/api/errors>).

use pushbox::{Failure, reject};
use serde::{Deserialize, de::DeserializeOwned};

use super::super::{Cancellation, Money, Outcome, Refund, RefundOutcome, deadline::Opened};

/// An answer of Stripe.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Identifies the request in Stripe's dashboard and for its support.
    pub(super) request_id: String,
    pub(super) body: Vec<u8>,
}

/// The state of something that Stripe may still be working on.
pub(super) enum State<T> {
    /// The outcome is known.
    Final(T),
    /// Stripe does not know the outcome yet.
    Processing { id: String },
}

/// <https://docs.stripe.com/api/payment_intents/object>
#[derive(Deserialize)]
pub(super) struct Intent {
    id: String,
    amount: u64,
    currency: String,
    status: String,
    last_payment_error: Option<Problem>,
}

/// <https://docs.stripe.com/api/refunds/object>
#[derive(Deserialize)]
pub(super) struct MadeRefund {
    id: String,
    amount: u64,
    currency: String,
    status: String,
    failure_reason: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
struct Metadata {
    key: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
}

/// The answer to a refund.
pub(super) enum Refunding {
    Made(MadeRefund),
    Failed {
        code: String,
    },
    /// Nothing is left to refund, because of an earlier refund.
    AlreadyRefunded,
}

#[derive(Deserialize)]
struct Failed {
    error: Problem,
}

/// `message` is left out, because it may repeat values of the request.
#[derive(Deserialize, Default)]
struct Problem {
    r#type: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
    payment_intent: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
}

impl Answer {
    /// The object that a successful answer holds. `what` names it.
    pub(super) fn object<T: DeserializeOwned>(&self, what: &str) -> Result<T, Failure> {
        if !self.is_success() {
            return Err(self.refusal(&self.problem(), what));
        }
        serde_json::from_slice(&self.body).map_err(|_| self.retry(&format!("no {what}")))
    }

    pub(super) fn charge(&self, asked: &Money) -> Result<State<Outcome>, Failure> {
        if self.is_success() {
            return self.object::<Intent>("PaymentIntent")?.charge(asked);
        }
        let declined = self.decline();
        declined.map(State::Final).ok_or_else(|| self.refusal(&self.problem(), "charge"))
    }

    pub(super) fn opening(&self, asked: &Money) -> Result<Opened, Failure> {
        if self.is_success() {
            return self.object::<Intent>("PaymentIntent")?.opening(asked);
        }
        self.decline().map(Opened::Declined).ok_or_else(|| self.refusal(&self.problem(), "charge"))
    }

    /// `None` if Stripe refuses: the state of the PaymentIntent tells why.
    pub(super) fn confirmation(&self, asked: &Money) -> Result<Option<State<Outcome>>, Failure> {
        if self.decline().is_none() && self.is_refused_for_its_state() {
            return Ok(None);
        }
        self.charge(asked).map(Some)
    }

    pub(super) fn refund(&self) -> Result<Refunding, Failure> {
        if self.is_success() {
            return self.object("refund").map(Refunding::Made);
        }
        let problem = self.problem();
        match problem.code.as_deref() {
            Some("charge_already_refunded") if self.status == 400 => Ok(Refunding::AlreadyRefunded),
            // Stripe repeats these answers for the same key, whatever somebody does about the reason.
            Some("charge_disputed" | "balance_insufficient" | "insufficient_funds") if self.status == 400 => {
                Ok(Refunding::Failed { code: problem.reason() })
            }
            _ if self.is_card_error(&problem) => Ok(Refunding::Failed { code: problem.reason() }),
            _ => Err(self.refusal(&problem, "refund")),
        }
    }

    /// `None` if Stripe refuses: the state of the PaymentIntent tells why.
    pub(super) fn cancellation(&self) -> Result<Option<Intent>, Failure> {
        if self.is_refused_for_its_state() {
            return Ok(None);
        }
        self.object("cancellation").map(Some)
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The outcome, if the request is correct, but this customer or this amount cannot be charged.
    fn decline(&self) -> Option<Outcome> {
        let problem = self.problem();
        let is_decline = self.is_card_error(&problem) || (self.status == 400 && problem.is_unpayable());
        is_decline.then(|| problem.decline())
    }

    fn is_refused_for_its_state(&self) -> bool {
        self.status == 400 && self.problem().r#type.is_some_and(|kind| kind != "idempotency_error")
    }

    fn is_card_error(&self, problem: &Problem) -> bool {
        self.status == 402 || (self.status == 400 && problem.r#type.as_deref() == Some("card_error"))
    }

    fn problem(&self) -> Problem {
        serde_json::from_slice(&self.body).map(|Failed { error }| error).unwrap_or_default()
    }

    fn refusal(&self, problem: &Problem, what: &str) -> Failure {
        // The same request gets the same answer. A body without a type does not come from Stripe.
        if self.status == 400 && problem.r#type.is_some() {
            let (request_id, problem) = (&self.request_id, problem.describe());
            return reject(format_args!("Stripe refused the {what} (request {request_id}): {problem}"));
        }
        // Also for 401, 403 and 404: they end when somebody corrects the secret key or the base URL.
        self.retry(&problem.describe())
    }

    fn retry(&self, what: &str) -> Failure {
        Failure::Retry(format!("Stripe answered {} (request {}): {what}", self.status, self.request_id))
    }
}

impl Intent {
    pub(super) fn charge(self, asked: &Money) -> Result<State<Outcome>, Failure> {
        let Self { id, status, last_payment_error, .. } = self;
        let code = match status.as_str() {
            "succeeded"
                if (self.amount, self.currency.as_str()) != (asked.minor, asked.currency.as_str()) =>
            {
                return Err(reject(format_args!("Stripe charged another amount: see {id}")));
            }
            "succeeded" => return Ok(State::Final(Outcome::Paid { id })),
            "processing" => return Ok(State::Processing { id }),
            // The customer is not there to act.
            "requires_action" => "authentication_required".to_owned(),
            "requires_payment_method" => last_payment_error.unwrap_or_default().reason(),
            "canceled" => status,
            // A state that the request cannot lead to, and that does not change: a person must look.
            _ => return Err(reject(format_args!("Stripe left the charge {id} at {status}"))),
        };
        Ok(State::Final(Outcome::Declined { id: Some(id), code }))
    }

    fn opening(self, asked: &Money) -> Result<Opened, Failure> {
        let Self { id, status, .. } = self;
        if (self.amount, self.currency.as_str()) != (asked.minor, asked.currency.as_str()) {
            return Err(reject(format_args!("Stripe opened a charge of another amount: see {id}")));
        }
        match status.as_str() {
            "requires_confirmation" => Ok(Opened::Open { id }),
            _ => Err(reject(format_args!("Stripe opened the charge {id} at {status}"))),
        }
    }

    pub(super) fn cancellation(self) -> Result<Cancellation, Failure> {
        let Self { id, status, .. } = self;
        match status.as_str() {
            "canceled" => Ok(Cancellation::Cancelled),
            "succeeded" => Ok(Cancellation::Paid),
            "processing" => Err(Failure::Retry(format!("Stripe is still processing {id}"))),
            _ => Err(reject(format_args!("Stripe does not cancel the charge {id} at {status}"))),
        }
    }
}

impl MadeRefund {
    pub(super) fn outcome(self, asked: &Refund) -> Result<State<RefundOutcome>, Failure> {
        if !self.is_whole(asked) {
            return Err(reject(format_args!("Stripe refunded another amount: see {}", self.id)));
        }
        let Self { id, status, failure_reason, .. } = self;
        match status.as_str() {
            "succeeded" => Ok(State::Final(RefundOutcome::Refunded { id })),
            "pending" => Ok(State::Processing { id }),
            "failed" | "canceled" => {
                Ok(State::Final(RefundOutcome::Failed { code: failure_reason.unwrap_or(status) }))
            }
            _ => Err(reject(format_args!("Stripe left the refund {id} at {status}"))),
        }
    }

    pub(super) fn has_key(&self, key: &str) -> bool {
        self.metadata.key.as_deref() == Some(key)
    }

    /// Whether it gives the whole amount back at once.
    pub(super) fn is_whole(&self, asked: &Refund) -> bool {
        let Money { minor, currency } = &asked.amount;
        (self.amount, self.currency.as_str()) == (*minor, currency.as_str())
    }

    pub(super) fn has_failed(&self) -> bool {
        ["failed", "canceled"].contains(&self.status.as_str())
    }
}

impl Problem {
    fn decline(self) -> Outcome {
        let code = self.reason();
        Outcome::Declined { id: self.payment_intent.map(|intent| intent.id), code }
    }

    /// Whether the request is refused for something that a buyer or a seller chose.
    fn is_unpayable(&self) -> bool {
        let is_chosen = |name: &str| matches!(name, "payment_method" | "currency");
        self.r#type.as_deref() == Some("invalid_request_error")
            && (self.param.as_deref().is_some_and(is_chosen)
                || self.code.as_deref().is_some_and(|code| {
                    let reasons = ["payment_method_", "amount_too_", "invalid_charge_amount"];
                    reasons.iter().any(|reason| code.starts_with(reason))
                }))
    }

    fn reason(&self) -> String {
        let reason = self.decline_code.clone().or_else(|| self.code.clone());
        let invalid = || self.param.as_ref().map(|name| format!("invalid_{name}"));
        reason.or_else(invalid).unwrap_or_else(|| "card_declined".to_owned())
    }

    fn describe(&self) -> String {
        let words = [&self.r#type, &self.code, &self.param];
        words.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}
