//! Charges through localstripe. It accepts the parameters that Stripe accepts, and refuses all others.

use effects::payments::{Gateway, Money, Outcome, Payment};
use pushbox::Failure;
use serde_json::Value;

use crate::Server;

struct Stripe {
    server: Server,
    gateway: Gateway,
}

impl Stripe {
    fn start() -> Self {
        let server = Server::start("stripe_server.py", &[]);
        let gateway = Gateway::stripe("sk_test_1", &base(&server)).unwrap();
        Self { server, gateway }
    }

    async fn charge(&self, method: &str, key: &str) -> Result<Outcome, Failure> {
        self.gateway.clone().charge(payment(method), key.to_owned()).await
    }

    /// All charges that localstripe knows.
    async fn charges(&self) -> Vec<Value> {
        let url = format!("{}/v1/payment_intents", base(&self.server));
        let answer = reqwest::Client::new().get(url).bearer_auth("sk_test_1").send().await.unwrap();
        answer.json::<Value>().await.unwrap()["data"].as_array().unwrap().clone()
    }
}

fn base(server: &Server) -> String {
    format!("http://127.0.0.1:{}", server.port)
}

fn payment(method: &str) -> Payment {
    Payment {
        amount: Money { minor: 1000, currency: "usd".parse().unwrap() },
        method: method.to_owned(),
        reference: "user-1".to_owned(),
    }
}

#[tokio::test]
async fn a_repeated_key_charges_once() {
    let mut stripe = Stripe::start();
    let first = stripe.charge("pm_card_visa", "key-1").await.unwrap();
    let again = stripe.charge("pm_card_visa", "key-1").await.unwrap();
    let other = stripe.charge("pm_card_visa", "key-2").await.unwrap();
    assert!(matches!(&first, Outcome::Paid { id } if id.starts_with("pi_")), "{first:?}");
    assert_eq!(first, again);
    assert_ne!(first, other);

    for (key, replayed) in [("key-1", false), ("key-1", true), ("key-2", false)] {
        let seen = stripe.server.seen();
        assert_eq!((&seen["key"], &seen["replayed"]), (&key.into(), &replayed.into()), "{seen}");
    }
    let charges = stripe.charges().await;
    assert_eq!(charges.len(), 2);
    for charge in charges {
        assert_eq!(charge["amount"], 1000);
        assert_eq!(charge["currency"], "usd");
        assert_eq!(charge["status"], "succeeded");
        assert_eq!(charge["metadata"]["reference"], "user-1");
    }
}

#[tokio::test]
async fn a_repeated_key_repeats_the_decline() {
    let stripe = Stripe::start();
    for _ in 0..2 {
        // localstripe treats `pm_card_visa_chargeDeclined` as a card that only cannot be attached.
        let outcome = stripe.charge("pm_card_chargeCustomerFail", "key-1").await.unwrap();
        assert!(matches!(&outcome, Outcome::Declined { code, .. } if code == "card_declined"), "{outcome:?}");
    }
    assert_eq!(stripe.charges().await.len(), 1);
}

#[tokio::test]
async fn rejects_a_key_that_was_used_for_another_charge() {
    let stripe = Stripe::start();
    stripe.charge("pm_card_visa", "key-1").await.unwrap();
    let failure = stripe.charge("pm_card_chargeCustomerFail", "key-1").await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Reject(reason) if reason.contains("idempotency_error")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_wrong_secret_key_is_retried_and_then_works() {
    let stripe = Stripe::start();
    let wrong = Gateway::stripe("rk_test_1", &base(&stripe.server)).unwrap();
    let failure = wrong.charge(payment("pm_card_visa"), "key-1".to_owned()).await.unwrap_err();
    assert!(matches!(&failure, Failure::Retry(text) if text.contains("401")), "{failure:?}");

    let outcome = stripe.charge("pm_card_visa", "key-1").await.unwrap();
    assert!(matches!(outcome, Outcome::Paid { .. }));
}

#[tokio::test]
async fn a_silent_server_is_a_retry_before_the_deadline() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::stripe("sk_test_1", &format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let began = std::time::Instant::now();
    let failure = gateway.charge(payment("pm_card_visa"), "key-1".to_owned()).await.unwrap_err();
    assert!(matches!(failure, Failure::Retry(_)) && began.elapsed().as_secs() <= 9);
}
