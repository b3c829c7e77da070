//! What Stripe's answers mean (<https://docs.stripe.com/api/errors>).

use pushbox::{Failure, reject};
use serde::Deserialize;

use super::Outcome;

/// What Stripe said to a charge.
pub(super) enum Answer {
    /// What came of it.
    Final(Outcome),
    /// It does not know yet.
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

/// Without `message`: it may repeat what was sent.
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

/// `request_id` is what Stripe's dashboard and support know the request by.
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
        // Nothing is wrong with our program: this customer, or this amount, cannot be charged.
        400 if problem.is_unpayable() => Ok(problem.decline()),
        // The same request gets the same answer. What names no type does not come from Stripe.
        400 if kind.is_some() => {
            let problem = problem.describe();
            Err(reject(format_args!("Stripe refused the charge (request {request_id}): {problem}")))
        }
        // 401, 403 and 404 too: somebody mends the key or the base, and then it works.
        _ => Err(retry(status, request_id, &problem.describe())),
    }
}

fn read_intent(Intent { id, status, last_payment_error }: Intent) -> Result<Answer, Failure> {
    let code = match status.as_str() {
        "succeeded" => return Ok(Answer::Final(Outcome::Paid { id })),
        "processing" => return Ok(Answer::Processing { id }),
        // Nobody is there to do anything.
        "requires_action" => "authentication_required".to_owned(),
        "requires_payment_method" => last_payment_error.unwrap_or_default().reason(),
        "canceled" => status,
        // Not what was asked for, and waiting does not change it: somebody has to look.
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
