//! Payments through Stripe: one PaymentIntent for each charge, confirmed when it is created.

mod answer;

use std::time::Duration;

use pushbox::Failure;
use reqwest::{
    Client, RequestBuilder,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use tokio::time::timeout;
use url::Url;

use self::answer::Answer;
use super::{Outcome, Payment};
use crate::{CALL_DEADLINE, Misconfigured};

/// The form of an answer depends on it (<https://docs.stripe.com/api/versioning>).
const API_VERSION: &str = "2026-04-22.dahlia";

pub(super) struct Stripe {
    client: Client,
    intents: String,
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
        Ok(Self { client, intents: format!("{}/v1/payment_intents", api_base.trim_end_matches('/')) })
    }

    pub(super) async fn charge(&self, payment: &Payment, key: &str) -> Result<Outcome, Failure> {
        let charged = timeout(CALL_DEADLINE, self.create(payment, key)).await;
        charged.unwrap_or_else(|_| Err(Failure::Retry("Stripe did not answer in time".to_owned())))
    }

    async fn create(&self, payment: &Payment, key: &str) -> Result<Outcome, Failure> {
        let amount = payment.amount.minor.to_string();
        let form = [
            ("amount", amount.as_str()),
            ("currency", payment.amount.currency.as_str()),
            ("payment_method", &payment.method),
            // Only charges that are decided at once: the customer is not there to confirm anything.
            ("payment_method_types[]", "card"),
            ("confirm", "true"),
            ("off_session", "true"),
            ("metadata[reference]", &payment.reference),
        ];
        let request = self.client.post(&self.intents).header("Idempotency-Key", key).form(&form);
        match self.ask(request).await? {
            Answer::Final(outcome) => Ok(outcome),
            // A repeat gets the first answer again, so this answer may be old.
            Answer::Processing { id } => match self
                .ask(self.client.get(format!("{}/{id}", self.intents)))
                .await?
            {
                Answer::Final(outcome) => Ok(outcome),
                Answer::Processing { id } => Err(Failure::Retry(format!("Stripe is still processing {id}"))),
            },
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let request_id = response.headers().get("request-id").and_then(|id| id.to_str().ok());
        let request_id = request_id.unwrap_or("without id").to_owned();
        let body = response.bytes().await?;
        answer::read(status, &request_id, &body)
    }
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
