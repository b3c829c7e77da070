//! What the console of the local stack shows and offers: the parts that only the systems and the outside world know.

use std::{cmp::Reverse, sync::Arc};

use effects::{
    mail::{LocalMail, mailbox},
    payments::{LocalCharge, LocalFaults, Money, Outcome, local_charges},
};
use local::{Attachment, Mail, Payment, Stack, Switch, Try};
use pushbox::{
    audit::Balance,
    store::{Store, StoreError},
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

fn tries() -> [Try; 3] {
    let (sign_up, order) = (signup::TRY_SIGN_UP, shop::TRY_ORDER);
    [
        Try {
            id: "sign-up",
            label: "Sign up",
            about: "A new user gets a mail, a contact and one charge. No service knows the others.",
            path: sign_up.0,
            body: sign_up.1,
        },
        Try {
            id: "order",
            label: "Order a teapot",
            about: "The shop takes a teapot from its stock, charges the customer and mails an invoice.",
            path: order.0,
            body: order.1,
        },
        Try {
            id: "poison",
            label: "Publish poison",
            about: "A message that no service can read. Each consumer rejects it at once, as a dead letter.",
            path: "/v1/projects/local/topics/user-events:publish",
            // The data is "not JSON" in base64.
            body: r#"{"messages":[{"data":"bm90IEpTT04="}]}"#,
        },
    ]
}

async fn balances(store: Arc<dyn Store>) -> Vec<Balance> {
    let all = async {
        let (signup, shop) = (signup::balances(&*store).await?, shop::balances(&*store).await?);
        Ok::<_, StoreError>([signup, shop, ticketing::balances(&*store).await?].concat())
    };
    all.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot count the documents");
        Vec::new()
    })
}

/// The local mailbox, the newest mail first.
async fn mails(store: Arc<dyn Store>) -> Vec<Mail> {
    let found = all_mails(&*store).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the local mailbox");
        Vec::new()
    });
    let attachment = |file: effects::mail::Attachment| Attachment {
        name: file.name,
        content_type: file.content_type,
        content: file.content.into(),
    };
    let mut mails: Vec<Mail> = found
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
    mails
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
async fn payments(store: Arc<dyn Store>) -> Vec<Payment> {
    let mut payments = all_charges(&*store).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the charges");
        Vec::new()
    });
    payments.sort_by_key(|payment| Reverse(payment.at));
    payments
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

fn payment(key: String, LocalCharge { charged_at, payment, outcome }: LocalCharge) -> Payment {
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
        declined,
    }
}
