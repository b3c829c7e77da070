//! The meaning of Stripe's answers (<https://docs.stripe.com/api/errors>).

use pushbox::{Failure, reject};
use serde::Deserialize;

use super::Outcome;

/// Stripe's answer to a charge.
pub(super) enum Answer {
    /// The outcome is known.
    Final(Outcome),
    /// Stripe does not know the outcome yet.
    Processing { id: String },
}

/// <https://docs.stripe.com/api/payment_intents/object>
#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    last_payment_error: Option<Problem>,
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

/// `request_id` identifies the request in Stripe's dashboard and for its support.
pub(super) fn read(status: u16, request_id: &str, body: &[u8]) -> Result<Answer, Failure> {
    if (200..300).contains(&status) {
        let intent = serde_json::from_slice(body);
        return read_intent(intent.map_err(|_| retry(status, request_id, "no PaymentIntent"))?);
    }
    let problem = serde_json::from_slice(body).map(|Failed { error }| error).unwrap_or_default();
    let kind = problem.r#type.as_deref();
    match status {
        402 => Ok(problem.decline()),
        400 if kind == Some("card_error") => Ok(problem.decline()),
        // The request is correct, but this customer or this amount cannot be charged.
        400 if problem.is_unpayable() => Ok(problem.decline()),
        // The same request gets the same answer. A body without a type does not come from Stripe.
        400 if kind.is_some() => {
            let problem = problem.describe();
            Err(reject(format_args!("Stripe refused the charge (request {request_id}): {problem}")))
        }
        // Also for 401, 403 and 404: they end when somebody corrects the secret key or the base URL.
        _ => Err(retry(status, request_id, &problem.describe())),
    }
}

fn read_intent(Intent { id, status, last_payment_error }: Intent) -> Result<Answer, Failure> {
    let code = match status.as_str() {
        "succeeded" => return Ok(Answer::Final(Outcome::Paid { id })),
        "processing" => return Ok(Answer::Processing { id }),
        // The customer is not there to act.
        "requires_action" => "authentication_required".to_owned(),
        "requires_payment_method" => last_payment_error.unwrap_or_default().reason(),
        "canceled" => status,
        // A state that the request cannot lead to, and that does not change: a person must look.
        _ => return Err(reject(format_args!("Stripe left the charge {id} at {status}"))),
    };
    Ok(Answer::Final(Outcome::Declined { id: Some(id), code }))
}

impl Problem {
    fn decline(self) -> Answer {
        let code = self.reason();
        Answer::Final(Outcome::Declined { id: self.payment_intent.map(|intent| intent.id), code })
    }

    fn is_unpayable(&self) -> bool {
        match self.code.as_deref() {
            Some("resource_missing") => self.param.as_deref() == Some("payment_method"),
            Some("amount_too_small" | "amount_too_large") => true,
            _ => false,
        }
    }

    fn reason(&self) -> String {
        let reason = self.decline_code.as_ref().or(self.code.as_ref());
        reason.map_or_else(|| "card_declined".to_owned(), Clone::clone)
    }

    fn describe(&self) -> String {
        let words = [&self.r#type, &self.code, &self.param];
        words.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

fn retry(status: u16, request_id: &str, what: &str) -> Failure {
    Failure::Retry(format!("Stripe answered {status} (request {request_id}): {what}"))
}
