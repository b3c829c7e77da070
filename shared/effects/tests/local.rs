//! The local mailbox and the local payment gateway, on a store in memory.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use effects::{
    mail::{Attachment, Mail, Mailer, Sent, mailbox},
    payments::{
        Cancellation, Deadline, Gateway, Money, Outcome, Payment, Refund, RefundOutcome, local_charges,
    },
};
use pushbox::{
    Clock, Failure, Path,
    store::{CommitError, Memory, Query, Store, StoreError, Stored, Version, Write},
};

fn mail(subject: &str) -> Mail {
    Mail {
        to: "ann@example.com".parse().unwrap(),
        subject: subject.to_owned(),
        text: "Hello".to_owned(),
        html: "<p>Hello</p>".to_owned(),
        attachments: vec![Attachment {
            name: "ticket.pdf".to_owned(),
            content_type: "application/pdf".to_owned(),
            content: b"%PDF".to_vec(),
        }],
    }
}

fn payment(method: &str, minor: u64) -> Payment {
    Payment {
        amount: Money { minor, currency: "usd".parse().unwrap() },
        method: method.to_owned(),
        reference: "user-1".to_owned(),
    }
}

#[tokio::test]
async fn a_repeated_key_keeps_the_first_mail() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let mailer = Mailer::local(store.clone(), Clock::system());
    for (key, subject) in [("b", "first"), ("a", "other"), ("b", "repeat")] {
        let sent = mailer.clone().send(mail(subject), key.to_owned()).await.unwrap();
        assert_eq!(sent, Sent::Accepted, "{key} {subject}");
    }
    let mails = mailbox(&*store, None, 10).await.unwrap();
    let found: Vec<_> = mails.iter().map(|kept| (kept.id.as_str(), kept.mail.subject.as_str())).collect();
    assert_eq!(found, [("a", "other"), ("b", "first")]);
    assert_eq!(mails[0].mail, mail("other"), "the mail is stored whole");

    let rest = mailbox(&*store, Some("a"), 10).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(mailbox(&*store, None, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeated_key_keeps_the_first_charge_and_its_outcome() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let gateway = Gateway::local(store.clone(), Clock::system());
    let (paid, declined) = ("pm_card_visa", "pm_card_visa_chargeDeclinedInsufficientFunds");
    for _ in 0..2 {
        let outcome = gateway.clone().charge(payment(paid, 1000), "a".to_owned()).await.unwrap();
        assert_eq!(outcome, Outcome::Paid { id: "local_a".to_owned() });

        let outcome = gateway.clone().charge(payment(declined, 1000), "b".to_owned()).await.unwrap();
        let code = "insufficient_funds".to_owned();
        assert_eq!(outcome, Outcome::Declined { id: Some("local_b".to_owned()), code });
    }
    let collection = "services/local-payment-gateway/charges".to_owned();
    let charges = store.list(&Query { collection, limit: 10, ..Query::default() }).await.unwrap();
    assert_eq!(charges.len(), 2);
}

fn refund(charge: &str, minor: u64) -> Refund {
    let Payment { amount, reference, .. } = payment("", minor);
    Refund { charge_id: charge.to_owned(), amount, reference }
}

#[tokio::test]
async fn a_charge_is_refunded_once_and_a_declined_charge_never() {
    let gateway = Gateway::local(Arc::new(Memory::default()), Clock::system());
    for (key, method) in [
        ("paid", "pm_card_visa"),
        ("declined", "pm_card_visa_chargeDeclined"),
        ("kept", "pm_card_refundFail"),
    ] {
        gateway.clone().charge(payment(method, 1000), key.to_owned()).await.unwrap();
    }
    let refunded = || "refunded local_r1".to_owned();
    for (charge, minor, key, expected) in [
        ("local_paid", 999, "r0", "reject"),
        ("local_paid", 1000, "r1", &refunded()),
        ("local_paid", 1000, "r1", &refunded()),
        // Another key finds the refund that gave the whole charge back.
        ("local_paid", 1000, "r2", &refunded()),
        ("local_declined", 1000, "r3", "reject"),
        ("local_kept", 1000, "r4", "failed expired_or_canceled_card"),
        ("local_kept", 1000, "r5", "failed expired_or_canceled_card"),
        ("local_kept", 1000, "r1", "reject"),
        ("local_unknown", 1000, "r6", "reject"),
        ("pi_1", 1000, "r7", "reject"),
    ] {
        let found = match gateway.clone().refund(refund(charge, minor), key.to_owned()).await {
            Ok(RefundOutcome::Refunded { id }) => format!("refunded {id}"),
            Ok(RefundOutcome::Failed { code }) => format!("failed {code}"),
            Err(Failure::Reject(_)) => "reject".to_owned(),
            Err(Failure::Retry(reason)) => reason,
        };
        assert_eq!(found, expected, "{charge} {minor} {key}");
    }
}

#[tokio::test]
async fn a_declined_charge_is_cancelled_and_a_paid_one_is_not() {
    let gateway = Gateway::local(Arc::new(Memory::default()), Clock::system());
    for (key, method, expected) in [
        ("a", "pm_card_visa_chargeDeclined", Cancellation::Cancelled),
        ("b", "pm_card_visa", Cancellation::Paid),
    ] {
        gateway.clone().charge(payment(method, 1000), key.to_owned()).await.unwrap();
        for _ in 0..2 {
            let found = gateway.clone().cancel(format!("local_{key}"), format!("cancel-{key}")).await;
            assert_eq!(found.unwrap(), expected);
        }
    }
    let found = gateway.cancel("local_a".to_owned(), "cancel-b".to_owned()).await;
    assert!(matches!(found, Err(Failure::Reject(_))), "the key was used for another charge: {found:?}");
}

#[tokio::test]
async fn rejects_a_key_that_was_used_for_another_payment() {
    let gateway = Gateway::local(Arc::new(Memory::default()), Clock::system());
    let charge = |minor| gateway.clone().charge(payment("pm_card_visa", minor), "a".to_owned());
    charge(1000).await.unwrap();
    assert!(matches!(charge(1001).await, Err(Failure::Reject(_))));
}

const UNTIL: &str = "2026-11-20T12:15:00Z";

/// A charge that began at 12:00 and may be paid until 12:15.
async fn charge_until(gateway: &Gateway, key: &str) -> Result<Outcome, Failure> {
    let begun_at = "2026-11-20T12:00:00Z".parse().unwrap();
    let deadline = Deadline { until: UNTIL.parse().unwrap(), begun_at };
    gateway.clone().charge_until(payment("pm_card_visa", 1000), deadline, key.to_owned()).await
}

fn at(time: &str) -> Clock {
    Clock::following_tokio(format!("2026-11-20T{time}Z").parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_charge_is_made_before_its_deadline_or_never() {
    let paid = |key: &str| Outcome::Paid { id: format!("local_{key}") };
    let too_late = || Outcome::Declined { id: None, code: "too_late".to_owned() };
    for (first, then, expected) in [
        ("12:14:52", "12:14:52", paid("a")),
        ("12:14:52", "12:16:00", paid("a")),
        ("12:14:53", "12:16:00", too_late()),
        // The request of a process with another clock, or one that was delayed on its way.
        ("12:16:00", "12:14:00", too_late()),
    ] {
        let store = Arc::new(Memory::default());
        for time in [first, then] {
            let found = charge_until(&Gateway::local(store.clone(), at(time)), "a").await.unwrap();
            assert_eq!(found, expected, "{first} {then}, at {time}");
        }
        let charges = local_charges(&*store, None, 10).await.unwrap();
        assert_eq!(charges.iter().map(|(_, charge)| &charge.outcome).collect::<Vec<_>>(), [&expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_charge_that_the_gateway_may_have_forgotten_is_not_made_again() {
    let store = Arc::new(Memory::default());
    let clock = at("12:00:00");
    let gateway = Gateway::local(store, clock);
    tokio::time::advance(Duration::from_secs(23 * 60 * 60)).await;
    assert!(charge_until(&gateway, "a").await.is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;
    let Err(Failure::Reject(reason)) = charge_until(&gateway, "a").await else { panic!("not refused") };
    assert!(reason.contains("look for the reference user-1"), "{reason}");
}

#[tokio::test]
async fn concurrent_repeats_keep_one_mail() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let mailer = Mailer::local(store.clone(), Clock::system());
    let sends = (0..50).map(|n| tokio::spawn(mailer.clone().send(mail(&n.to_string()), "a".to_owned())));
    for send in sends.collect::<Vec<_>>() {
        assert_eq!(send.await.unwrap().unwrap(), Sent::Accepted);
    }
    assert_eq!(mailbox(&*store, None, 10).await.unwrap().len(), 1);
}

/// A store that commits, but gives no answer.
#[derive(Default)]
struct Silent(Memory);

#[async_trait]
impl Store for Silent {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        self.0.get(path).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        self.0.commit(writes).await?;
        Err(CommitError::Unknown(StoreError("no answer".to_owned())))
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.0.list(query).await
    }
}

#[tokio::test]
async fn without_an_answer_a_mail_is_unknown_and_a_charge_is_retried() {
    let store: Arc<dyn Store> = Arc::new(Silent::default());
    let mailer = Mailer::local(store.clone(), Clock::system());
    assert_eq!(mailer.send(mail("s"), "a".to_owned()).await.unwrap(), Sent::Unknown);
    assert_eq!(mailbox(&*store, None, 10).await.unwrap().len(), 1);

    let gateway = Gateway::local(store, Clock::system());
    let charge = || gateway.clone().charge(payment("pm_card_visa", 1000), "a".to_owned());
    assert!(matches!(charge().await, Err(Failure::Retry(_))));
    assert_eq!(charge().await.unwrap(), Outcome::Paid { id: "local_a".to_owned() });

    let refund = || gateway.clone().refund(refund("local_a", 1000), "b".to_owned());
    assert!(matches!(refund().await, Err(Failure::Retry(_))));
    assert_eq!(refund().await.unwrap(), RefundOutcome::Refunded { id: "local_b".to_owned() });
}

#[test]
fn outcomes_can_be_stored() {
    let reason = "the server answered 550".to_owned();
    for sent in [Sent::Accepted, Sent::Refused { reason }, Sent::Unknown] {
        let kept = serde_json::to_value(&sent).unwrap();
        assert!(kept.is_object(), "{kept}");
        assert_eq!(serde_json::from_value::<Sent>(kept).unwrap(), sent);
    }
}

#[test]
fn debug_output_has_no_secret_and_no_personal_data() {
    let mailer = Mailer::smtp("smtp://u:secret@mail.example", "Shop <hello@example.com>").unwrap();
    let gateway = Gateway::stripe("sk_test_secret", "https://api.stripe.com", Clock::system()).unwrap();
    let shown = format!("{mailer:?} {gateway:?} {:?}", mail("Welcome, Ann"));
    assert!(!shown.contains("secret") && !shown.to_lowercase().contains("ann"), "{shown}");
}

#[test]
fn errors_name_the_malformed_variable() {
    for (key, base, expected) in [
        (
            "pk_test_x",
            "https://api.stripe.com",
            "STRIPE_SECRET_KEY is malformed: it starts with neither sk_ nor rk_",
        ),
        ("sk_test_\n", "https://api.stripe.com", "STRIPE_SECRET_KEY is malformed: it has a character"),
        ("sk_test_x", "api.stripe.com", "STRIPE_API_BASE is malformed: it is not a URL"),
        ("sk_test_x", "ftp://api.stripe.com", "STRIPE_API_BASE is malformed: it starts with"),
        ("sk_live_x", "http://api.stripe.com", "STRIPE_API_BASE is malformed: a live key"),
    ] {
        let error = Gateway::stripe(key, base, Clock::system()).unwrap_err().to_string();
        assert!(error.starts_with(expected) && error.contains("for example STRIPE_"), "{error}");
    }
    let error = Mailer::smtp("smtp://mail.example", "nobody").unwrap_err().to_string();
    assert!(error.starts_with("MAIL_FROM is malformed"), "{error}");
}
