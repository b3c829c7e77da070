//! What the console of the local stack shows and offers: the parts that only the systems and the outside world know.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use effects::{
    mail::{LocalMail, mailbox},
    payments::{LOCAL_GATEWAY, LocalCharge, LocalFaults, Money, Outcome, local_charges},
};
use local::{Attachment, Mail, Payment, Stack, Switch, Try};
use pushbox::{
    audit::{Balance, documents},
    store::{Store, StoreError, Stored},
};

/// The number of documents that are read at once.
const PAGE: usize = 300;

/// Adds mails, payments, balances, examples and requests to try.
pub(crate) fn furnish(stack: Stack, store: &Arc<dyn Store>, project: &str, port: u16) -> Stack {
    let (of_mails, of_payments, of_balances) = (store.clone(), store.clone(), store.clone());
    stack
        .with_receipts(store.clone(), project)
        .with_port(port)
        .with_examples(events::examples())
        .with_tries(tries())
        .with_mailbox(move || mails(of_mails.clone()))
        .with_payments(move || payments(of_payments.clone()))
        .with_balances(move || balances(of_balances.clone()))
}

/// The faults of the local payment gateway.
pub(crate) fn switches(faults: &LocalFaults) -> [Switch; 2] {
    let of = "Payment gateway";
    [
        Switch {
            id: "payments-decline",
            of,
            label: "Declines every new charge",
            is_on: faults.declines.clone(),
        },
        Switch {
            id: "payments-hang",
            of,
            label: "Takes the money, but gives no answer",
            is_on: faults.hangs.clone(),
        },
    ]
}

fn tries() -> [Try; 5] {
    let (sign_up, order, offer) = (signup::TRY_SIGN_UP, shop::TRY_ORDER, ticketing::TRY_OFFER);
    let declined = shop::TRY_DECLINED_ORDER;
    [
        Try {
            id: "sign-up",
            system: "signup",
            account: None,
            label: "Sign up",
            about: "A new user gets a mail, a contact and one charge. No service knows the others.",
            path: sign_up.0,
            body: sign_up.1,
        },
        Try {
            id: "order",
            system: "shop",
            account: None,
            label: "Order a teapot",
            about: "The shop takes a teapot from its stock, charges the customer and mails an invoice.",
            path: order.0,
            body: order.1,
        },
        Try {
            id: "declined-order",
            system: "shop",
            account: None,
            label: "Use a bad card",
            about: "The same order, but the card is declined: the shop cancels the order, returns the teapot and mails why.",
            path: declined.0,
            body: declined.1,
        },
        Try {
            id: "poison",
            system: "signup",
            account: None,
            label: "Publish poison",
            about: "A message that no service can read. Each consumer rejects it at once, as a dead letter. No repair makes \
                    it readable, so a replay only makes the letter again.",
            path: "/v1/projects/local/topics/user-events:publish",
            // The data is "not JSON" in base64.
            body: r#"{"messages":[{"data":"bm90IEpTT04="}]}"#,
        },
        Try {
            id: "ticket",
            system: "ticketing",
            label: "Offer a ticket",
            about: "A seller opens an account and offers a ticket. The README shows how buyers compete for it.",
            account: Some(ticketing::TRY_ACCOUNT),
            path: offer.0,
            body: offer.1,
        },
    ]
}

async fn balances(store: Arc<dyn Store>) -> Result<Vec<(&'static str, Balance)>, StoreError> {
    let (mut signup, mut shop) = (signup::balances(&*store).await?, shop::balances(&*store).await?);
    signup.push(charged_once(&*store, "billing-service").await?);
    shop.push(charged_once(&*store, "payment-service").await?);
    let systems = [("signup", signup), ("shop", shop), ("ticketing", ticketing::balances(&*store).await?)];
    let named = |(system, balances): (_, Vec<Balance>)| balances.into_iter().map(move |one| (system, one));
    Ok(systems.into_iter().flat_map(named).collect())
}

/// The charges at the local gateway that a service asked for, and those that it has recorded.
async fn charged_once(store: &dyn Store, service: &str) -> Result<Balance, StoreError> {
    let recorded = documents(store, service, "charges").await?;
    let at_gateway = documents(store, LOCAL_GATEWAY, "charges").await?;
    let ids: BTreeSet<&str> = recorded.iter().map(|charge| &*charge.id).collect();
    let is_for_service = |charge: &&Stored| {
        let reference = charge.fields.get("payment").and_then(|payment| payment["reference"].as_str());
        reference.is_some_and(|reference| ids.contains(reference))
    };
    let is_over = |charge: &&Stored| {
        let is = |field: &str, text: &str| charge.fields.get(field).is_some_and(|value| value == text);
        is("gateway", "local") && !is("status", "pending")
    };
    let terms = vec![
        ("at the gateway", at_gateway.iter().filter(is_for_service).count() as u64),
        ("recorded", recorded.iter().filter(is_over).count() as u64),
    ];
    let balance = Balance::equal("Every charge at the gateway is recorded once.", terms);
    Ok(balance.counted_from(&[&recorded, &at_gateway]))
}

/// The local mailbox, the newest mail first.
async fn mails(store: Arc<dyn Store>) -> Result<Vec<Mail>, StoreError> {
    let attachment = |file: effects::mail::Attachment| Attachment {
        name: file.name,
        content_type: file.content_type,
        content: file.content.into(),
    };
    let mut mails: Vec<Mail> = all_mails(&*store)
        .await?
        .into_iter()
        .map(|found| Mail {
            id: found.id,
            sent_at: found.sent_at,
            to: found.mail.to.into(),
            subject: found.mail.subject,
            text: found.mail.text,
            html: found.mail.html,
            attachments: found.mail.attachments.into_iter().map(attachment).collect(),
        })
        .collect();
    mails.sort_by_key(|mail| Reverse(mail.sent_at));
    Ok(mails)
}

/// Reads all pages. They are in the order of the mails' ids, so any page can have the newest mail.
async fn all_mails(store: &dyn Store) -> Result<Vec<LocalMail>, StoreError> {
    let mut mails: Vec<LocalMail> = Vec::new();
    loop {
        let after = mails.last().map(|mail| mail.id.clone());
        let page = mailbox(store, after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        mails.extend(page);
        if is_last {
            return Ok(mails);
        }
    }
}

/// The charges at the local gateway, the newest first.
async fn payments(store: Arc<dyn Store>) -> Result<Vec<Payment>, StoreError> {
    let mut payments = all_charges(&*store).await?;
    payments.sort_by_key(|payment| Reverse(payment.at));
    Ok(payments)
}

/// Reads all pages, because the keys are random.
async fn all_charges(store: &dyn Store) -> Result<Vec<Payment>, StoreError> {
    let mut payments: Vec<Payment> = Vec::new();
    loop {
        let after = payments.last().map(|payment| payment.key.clone());
        let page = local_charges(store, after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        payments.extend(page.into_iter().map(|(key, charge)| payment(key, charge)));
        if is_last {
            return Ok(payments);
        }
    }
}

fn payment(key: String, LocalCharge { charged_at, payment, outcome, asked }: LocalCharge) -> Payment {
    let Money { minor, currency } = &payment.amount;
    let declined = match outcome {
        Outcome::Paid { .. } => None,
        Outcome::Declined { code, .. } => Some(code),
    };
    Payment {
        key,
        at: charged_at,
        reference: payment.reference,
        amount: format!("{}.{:02} {}", minor / 100, minor % 100, currency.as_str().to_uppercase()),
        method: payment.method,
        asked,
        declined,
    }
}
