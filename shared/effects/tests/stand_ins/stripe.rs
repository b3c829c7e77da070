//! Charges, refunds and cancellations through localstripe. It accepts the parameters that Stripe accepts, and refuses all others.

use effects::payments::{Cancellation, Deadline, Gateway, Money, Outcome, Payment, Refund, RefundOutcome};
use jiff::{SignedDuration, Timestamp};
use pushbox::{Clock, Failure};
use serde_json::Value;

use crate::Server;

struct Stripe {
    server: Server,
    gateway: Gateway,
}

impl Stripe {
    fn start() -> Self {
        let server = Server::start("stripe_server.py", &[]);
        let gateway = Gateway::stripe("sk_test_1", &base(&server), Clock::system()).unwrap();
        Self { server, gateway }
    }

    /// Charges a card, with this much time left.
    async fn charge_until(&self, method: &str, left: SignedDuration, key: &str) -> Result<Outcome, Failure> {
        let now = Timestamp::now();
        let deadline = Deadline { until: now + left, begun_at: now };
        self.gateway.clone().charge_until(payment(method), deadline, key.to_owned()).await
    }

    async fn charge(&self, method: &str, key: &str) -> Result<Outcome, Failure> {
        self.gateway.clone().charge(payment(method), key.to_owned()).await
    }

    /// Charges a card, and returns the charge's id.
    async fn paid(&self, key: &str) -> String {
        match self.charge("pm_card_visa", key).await.unwrap() {
            Outcome::Paid { id } => id,
            other => panic!("not paid: {other:?}"),
        }
    }

    async fn refund(&self, charge: &str, minor: u64, key: &str) -> Result<RefundOutcome, Failure> {
        let Payment { amount, reference, .. } = payment("");
        let refund = Refund { charge_id: charge.to_owned(), amount: Money { minor, ..amount }, reference };
        self.gateway.clone().refund(refund, key.to_owned()).await
    }

    async fn cancel(&self, charge: &str, key: &str) -> Result<Cancellation, Failure> {
        self.gateway.clone().cancel(charge.to_owned(), key.to_owned()).await
    }

    /// As Stripe does after a day.
    async fn forget_keys(&self) {
        let url = format!("{}/_config/forget_keys", base(&self.server));
        let answer = reqwest::Client::new().post(url).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    /// Creates a PaymentIntent that nobody has confirmed yet, and returns its id.
    async fn open_intent(&self) -> String {
        let form = [("amount", "1000"), ("currency", "usd"), ("payment_method", "pm_card_visa")];
        let url = format!("{}/v1/payment_intents", base(&self.server));
        let request = reqwest::Client::new().post(url).bearer_auth("sk_test_1").form(&form);
        let created: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(created["status"], "requires_confirmation", "{created}");
        created["id"].as_str().unwrap().to_owned()
    }

    /// All charges that localstripe knows.
    async fn charges(&self) -> Vec<Value> {
        self.list("payment_intents").await
    }

    async fn list(&self, what: &str) -> Vec<Value> {
        let url = format!("{}/v1/{what}", base(&self.server));
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
async fn a_repeated_key_refunds_once() {
    let stripe = Stripe::start();
    let charge = stripe.paid("key-1").await;
    let first = stripe.refund(&charge, 1000, "refund-1").await.unwrap();
    let again = stripe.refund(&charge, 1000, "refund-1").await.unwrap();
    assert!(matches!(&first, RefundOutcome::Refunded { id } if id.starts_with("re_")), "{first:?}");
    assert_eq!(first, again);

    let refunds = stripe.list("refunds").await;
    assert_eq!(refunds.len(), 1);
    let refund = &refunds[0];
    assert_eq!((&refund["amount"], &refund["currency"]), (&1000.into(), &"usd".into()));
    assert_eq!((&refund["payment_intent"], &refund["status"]), (&charge.into(), &"succeeded".into()));
    let metadata = &refund["metadata"];
    assert_eq!((&metadata["reference"], &metadata["key"]), (&"user-1".into(), &"refund-1".into()));
}

/// A refund that comes back after Stripe has forgotten its key finds the first one.
#[tokio::test]
async fn a_forgotten_key_refunds_no_second_time() {
    let stripe = Stripe::start();
    let charge = stripe.paid("key-1").await;
    let first = stripe.refund(&charge, 1000, "refund-1").await.unwrap();
    stripe.forget_keys().await;
    assert_eq!(stripe.refund(&charge, 1000, "refund-1").await.unwrap(), first);
    assert_eq!(stripe.refund(&charge, 1000, "refund-2").await.unwrap(), first);
    assert_eq!(stripe.list("refunds").await.len(), 1);
}

#[tokio::test]
async fn parts_that_somebody_refunded_do_not_count() {
    let stripe = Stripe::start();
    let charge = stripe.paid("key-1").await;
    for (minor, key) in [(400, "part-1"), (600, "part-2")] {
        stripe.refund(&charge, minor, key).await.unwrap();
    }
    let code = "charge_already_refunded".to_owned();
    assert_eq!(stripe.refund(&charge, 1000, "whole").await.unwrap(), RefundOutcome::Failed { code });
}

#[tokio::test]
async fn a_charge_that_is_not_paid_is_not_refunded() {
    let stripe = Stripe::start();
    stripe.charge("pm_card_chargeCustomerFail", "key-1").await.unwrap();
    let charge = stripe.charges().await[0]["id"].as_str().unwrap().to_owned();
    let found = stripe.refund(&charge, 1000, "refund-1").await;
    assert!(matches!(found, Err(Failure::Reject(_))), "{found:?}");
    // The charge does not exist, or the secret key is that of another account.
    let found = stripe.refund("pi_unknown", 1000, "refund-2").await;
    assert!(matches!(found, Err(Failure::Retry(_))), "{found:?}");
    assert_eq!(stripe.list("refunds").await.len(), 0);
}

#[tokio::test]
async fn an_open_or_declined_charge_is_cancelled_for_good() {
    let stripe = Stripe::start();
    let open = stripe.open_intent().await;
    stripe.charge("pm_card_chargeCustomerFail", "key-1").await.unwrap();
    let declined = stripe.charges().await.into_iter().find(|charge| charge["id"] != open.as_str()).unwrap();
    for charge in [open.as_str(), declined["id"].as_str().unwrap()] {
        // The same key, and a key that Stripe has not seen.
        for key in ["cancel", "cancel", "cancel-again"] {
            let key = format!("{key}-{charge}");
            assert_eq!(stripe.cancel(charge, &key).await.unwrap(), Cancellation::Cancelled, "{charge} {key}");
        }
    }
    assert!(stripe.charges().await.iter().all(|charge| charge["status"] == "canceled"));
}

#[tokio::test]
async fn a_paid_charge_is_not_cancelled() {
    let stripe = Stripe::start();
    let charge = stripe.paid("key-1").await;
    assert_eq!(stripe.cancel(&charge, "cancel-1").await.unwrap(), Cancellation::Paid);
    assert_eq!(stripe.charges().await[0]["status"], "succeeded");
}

#[tokio::test]
async fn a_charge_with_a_deadline_is_confirmed_in_time_or_called_off() {
    let stripe = Stripe::start();
    let (early, late) = (SignedDuration::from_mins(1), SignedDuration::ZERO);
    let paid = stripe.charge_until("pm_card_visa", early, "key-1").await.unwrap();
    assert!(matches!(paid, Outcome::Paid { .. }), "{paid:?}");
    let too_late = Outcome::Declined { id: None, code: "too_late".to_owned() };
    assert_eq!(stripe.charge_until("pm_card_visa", late, "key-2").await.unwrap(), too_late);
    let declined = stripe.charge_until("pm_card_chargeCustomerFail", early, "key-3").await.unwrap();
    assert!(
        matches!(&declined, Outcome::Declined { id: Some(_), code } if code == "card_declined"),
        "{declined:?}"
    );

    // The answers were lost, and the time has passed.
    assert_eq!(stripe.charge_until("pm_card_visa", late, "key-1").await.unwrap(), paid);
    assert_eq!(stripe.charge_until("pm_card_visa", late, "key-2").await.unwrap(), too_late);
    assert_eq!(stripe.charge_until("pm_card_chargeCustomerFail", late, "key-3").await.unwrap(), too_late);
    // A request that was delayed on its way, or one of a process with another clock.
    let delayed = stripe.charge_until("pm_card_visa", early, "key-2").await.unwrap();
    assert!(matches!(&delayed, Outcome::Declined { code, .. } if code == "canceled"), "{delayed:?}");

    let mut statuses: Vec<String> =
        stripe.charges().await.iter().map(|charge| charge["status"].as_str().unwrap().to_owned()).collect();
    statuses.sort();
    assert_eq!(statuses, ["canceled", "canceled", "succeeded"]);
}

#[tokio::test]
async fn a_wrong_secret_key_is_retried_and_then_works() {
    let stripe = Stripe::start();
    let wrong = Gateway::stripe("rk_test_1", &base(&stripe.server), Clock::system()).unwrap();
    let failure = wrong.charge(payment("pm_card_visa"), "key-1".to_owned()).await.unwrap_err();
    assert!(matches!(&failure, Failure::Retry(text) if text.contains("401")), "{failure:?}");

    let outcome = stripe.charge("pm_card_visa", "key-1").await.unwrap();
    assert!(matches!(outcome, Outcome::Paid { .. }));
}

#[tokio::test]
async fn a_silent_server_is_a_retry_before_the_deadline() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", silent.local_addr().unwrap());
    let gateway = Gateway::stripe("sk_test_1", &base, Clock::system()).unwrap();
    let began = std::time::Instant::now();
    let failure = gateway.charge(payment("pm_card_visa"), "key-1".to_owned()).await.unwrap_err();
    assert!(matches!(failure, Failure::Retry(_)) && began.elapsed().as_secs() <= 9);
}
