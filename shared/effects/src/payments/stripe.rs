//! Payments through Stripe: one PaymentIntent for each charge. It is confirmed when it is created, or by a second call
//! if it has a deadline. A paid one is refunded as a whole, and one that was declined is cancelled.

mod answer;

use std::time::Duration;

use pushbox::{Failure, reject};
use reqwest::{
    Client, RequestBuilder,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use tokio::time::timeout;
use url::Url;

use self::answer::{Answer, Intent, MadeRefund, Page, Refunding, State};
use super::{
    Cancellation, Outcome, Payment, Refund, RefundOutcome,
    deadline::{Opened, TOO_LATE},
};
use crate::{CALL_DEADLINE, Misconfigured};

/// The form of an answer depends on it (<https://docs.stripe.com/api/versioning>).
const API_VERSION: &str = "2026-04-22.dahlia";

pub(super) struct Stripe {
    client: Client,
    /// Ends with the version, `/v1`.
    base: String,
}

impl Stripe {
    pub(super) fn new(secret_key: &str, api_base: &str) -> Result<Self, Misconfigured> {
        let base = Url::parse(api_base).map_err(|_| bad_base("it is not a URL"))?;
        match base.scheme() {
            "https" => {}
            "http" if !secret_key.contains("_live_") => {}
            "http" => return Err(bad_base("a live key is sent over https only")),
            _ => return Err(bad_base("it starts with neither https:// nor http://")),
        }
        if !["sk_", "rk_"].iter().any(|prefix| secret_key.starts_with(prefix)) {
            return Err(bad_key("it starts with neither sk_ nor rk_"));
        }
        let bearer = HeaderValue::from_str(&format!("Bearer {secret_key}"));
        let mut bearer = bearer.map_err(|_| bad_key("it has a character that no key has"))?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, bearer),
            (
                reqwest::header::HeaderName::from_static("stripe-version"),
                HeaderValue::from_static(API_VERSION),
            ),
        ]);
        let client = Client::builder()
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(4))
            // The secret key must not reach another host.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|_| bad_base("this machine has no root certificates to check it with"))?;
        Ok(Self { client, base: format!("{}/v1", api_base.trim_end_matches('/')) })
    }

    pub(super) async fn charge(&self, payment: &Payment, key: &str) -> Result<Outcome, Failure> {
        in_time(self.create(payment, key)).await
    }

    pub(super) async fn refund(&self, refund: &Refund, key: &str) -> Result<RefundOutcome, Failure> {
        in_time(self.give_back(refund, key)).await
    }

    pub(super) async fn cancel(&self, charge_id: &str, key: &str) -> Result<Cancellation, Failure> {
        in_time(self.close(charge_id, key)).await
    }

    async fn create(&self, payment: &Payment, key: &str) -> Result<Outcome, Failure> {
        let amount = payment.amount.minor.to_string();
        let form = [&described(payment, &amount)[..], &[("confirm", "true"), OFF_SESSION]].concat();
        match self.post("payment_intents", key, &form).await?.charge(&payment.amount)? {
            State::Final(outcome) => Ok(outcome),
            State::Processing { id } => self.settled(&id, payment).await,
        }
    }

    /// A repeat gets the first answer, whatever has become of the charge.
    pub(super) async fn open(&self, payment: &Payment, key: &str) -> Result<Opened, Failure> {
        let amount = payment.amount.minor.to_string();
        self.post("payment_intents", key, &described(payment, &amount)).await?.opening(&payment.amount)
    }

    pub(super) async fn confirm(&self, id: String, payment: &Payment, key: &str) -> Result<Outcome, Failure> {
        let path = format!("payment_intents/{}/confirm", checked(&id)?);
        let answer = self.post(&path, &format!("{key}-confirm"), &[OFF_SESSION]).await?;
        match answer.confirmation(&payment.amount)? {
            Some(State::Final(Outcome::Declined { code, .. })) => {
                Ok(Outcome::Declined { id: Some(id), code })
            }
            Some(State::Final(paid)) => Ok(paid),
            Some(State::Processing { .. }) | None => self.settled(&id, payment).await,
        }
    }

    pub(super) async fn call_off(
        &self,
        id: String,
        payment: &Payment,
        key: &str,
    ) -> Result<Outcome, Failure> {
        let path = format!("payment_intents/{}/cancel", checked(&id)?);
        match self.post(&path, &format!("{key}-cancel"), &[]).await?.cancellation()? {
            Some(intent) => {
                intent.cancellation()?;
                Ok(Outcome::Declined { id: None, code: TOO_LATE.to_owned() })
            }
            None => self.settled(&id, payment).await,
        }
    }

    /// What has become of a charge. The answer to a repeated call may be old.
    async fn settled(&self, id: &str, payment: &Payment) -> Result<Outcome, Failure> {
        match self.intent(id).await?.charge(&payment.amount)? {
            State::Final(outcome) => Ok(outcome),
            State::Processing { id } => Err(Failure::Retry(format!("Stripe is still processing {id}"))),
        }
    }

    async fn give_back(&self, refund: &Refund, key: &str) -> Result<RefundOutcome, Failure> {
        let charge_id = checked(&refund.charge_id)?;
        let amount = refund.amount.minor.to_string();
        let form = [
            ("payment_intent", charge_id),
            // Without it, Stripe would refund what somebody has left of the charge.
            ("amount", amount.as_str()),
            ("metadata[reference]", &refund.reference),
            // Stripe forgets the key after a day, but not this.
            ("metadata[key]", key),
        ];
        let made = match self.post("refunds", key, &form).await?.refund()? {
            Refunding::Made(made) => made,
            Refunding::Failed { code } => return Ok(RefundOutcome::Failed { code }),
            Refunding::AlreadyRefunded => match self.earlier_refund(refund, key).await? {
                Some(made) => made,
                None => return Ok(RefundOutcome::Failed { code: "charge_already_refunded".to_owned() }),
            },
        };
        match made.outcome(refund)? {
            State::Final(outcome) => Ok(outcome),
            // A repeat gets the first answer again, so this answer may be old.
            State::Processing { id } => {
                let now: MadeRefund = self.get(&format!("refunds/{id}")).await?.object("refund")?;
                match now.outcome(refund)? {
                    State::Final(outcome) => Ok(outcome),
                    State::Processing { id } => {
                        Err(Failure::Retry(format!("Stripe is still processing {id}")))
                    }
                }
            }
        }
    }

    /// The refund that was made with this key, or another one that gave the whole amount back.
    async fn earlier_refund(&self, refund: &Refund, key: &str) -> Result<Option<MadeRefund>, Failure> {
        let list = format!("refunds?payment_intent={}&limit=100", refund.charge_id);
        let Page { data } = self.get(&list).await?.object::<Page<MadeRefund>>("list of refunds")?;
        let counts = |made: &MadeRefund| made.is_whole(refund) && !made.has_failed();
        let (ours, others): (Vec<_>, Vec<_>) =
            data.into_iter().filter(counts).partition(|made| made.has_key(key));
        Ok(ours.into_iter().chain(others).next())
    }

    async fn close(&self, charge_id: &str, key: &str) -> Result<Cancellation, Failure> {
        let path = format!("payment_intents/{}/cancel", checked(charge_id)?);
        match self.post(&path, key, &[]).await?.cancellation()? {
            Some(intent) => intent.cancellation(),
            None => self.intent(charge_id).await?.cancellation(),
        }
    }

    async fn intent(&self, id: &str) -> Result<Intent, Failure> {
        self.get(&format!("payment_intents/{id}")).await?.object("PaymentIntent")
    }

    async fn post(&self, path: &str, key: &str, form: &[(&str, &str)]) -> Result<Answer, Failure> {
        let request = self.client.post(format!("{}/{path}", self.base));
        ask(request.header("Idempotency-Key", key).form(form)).await
    }

    async fn get(&self, path: &str) -> Result<Answer, Failure> {
        ask(self.client.get(format!("{}/{path}", self.base))).await
    }
}

async fn ask(request: RequestBuilder) -> Result<Answer, Failure> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let request_id = response.headers().get("request-id").and_then(|id| id.to_str().ok());
    let request_id = request_id.unwrap_or("without id").to_owned();
    Ok(Answer { status, request_id, body: response.bytes().await?.into() })
}

async fn in_time<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = |_| Err(Failure::Retry("Stripe did not answer in time".to_owned()));
    timeout(CALL_DEADLINE, call).await.unwrap_or_else(late)
}

/// The customer is not there to act.
const OFF_SESSION: (&str, &str) = ("off_session", "true");

/// The fields of a new PaymentIntent.
fn described<'a>(payment: &'a Payment, amount: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("amount", amount),
        ("currency", payment.amount.currency.as_str()),
        ("payment_method", &payment.method),
        // Only charges that are decided at once: the customer is not there to confirm anything.
        ("payment_method_types[]", "card"),
        ("metadata[reference]", &payment.reference),
    ]
}

/// An id that can be part of a path.
fn checked(charge_id: &str) -> Result<&str, Failure> {
    let is_id = charge_id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !charge_id.is_empty();
    is_id.then_some(charge_id).ok_or_else(|| reject("Stripe has no charge with such an id"))
}

fn bad_key(problem: &'static str) -> Misconfigured {
    Misconfigured {
        variable: "STRIPE_SECRET_KEY",
        problem,
        meaning: "the key that charges are made with (https://dashboard.stripe.com/apikeys)",
        example: "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    }
}

fn bad_base(problem: &'static str) -> Misconfigured {
    Misconfigured {
        variable: "STRIPE_API_BASE",
        problem,
        meaning: "where Stripe's API, or a stand-in for it, is",
        example: "https://api.stripe.com",
    }
}
