//! The mail that tells a buyer of a refund: one for each order.

use effects::mail::{Mail, MailCall, MailDetails};
use events::{
    AccountCreated, EmailAddress, Money, OrderId, TicketChargeRefunded, TicketRefundMailDue, UserId,
};
use maud::html;
use pushbox::{Context, Document, Failure, Unfiltered};
use serde::{Deserialize, Serialize};

use super::account::Account;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Buyer {
    user_id: UserId,
    /// None until the news of the account comes. The news of a refund can come before.
    email: Option<EmailAddress>,
    /// The refunds whose mails wait for the address.
    waiting: Vec<Refund>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refund {
    order_id: OrderId,
    amount: Money,
}

pub(super) async fn keep_address(account: AccountCreated, cx: Context) -> Result<(), Failure> {
    let mut buyer = Buyer::of(&account.user_id, &cx).await?;
    for Refund { order_id, amount } in buyer.waiting.drain(..) {
        cx.publish(&TicketRefundMailDue { order_id, to: account.email.clone(), amount });
    }
    buyer.email = Some(account.email);
    cx.put(&buyer);
    Ok(())
}

pub(super) async fn notify(refunded: TicketChargeRefunded, cx: Context) -> Result<(), Failure> {
    let TicketChargeRefunded { order_id, amount, .. } = refunded;
    let account = Account::existing(&order_id, &cx).await?;
    let mut buyer = Buyer::of(&account.due()?.buyer, &cx).await?;
    if let Some(to) = buyer.email {
        cx.publish(&TicketRefundMailDue { order_id, to, amount });
    } else {
        buyer.waiting.push(Refund { order_id, amount });
        cx.put(&buyer);
    }
    Ok(())
}

impl Buyer {
    async fn of(user_id: &UserId, cx: &Context) -> Result<Self, Failure> {
        let new = || Self { user_id: user_id.clone(), email: None, waiting: Vec::new() };
        Ok(cx.get(user_id.as_str()).await?.unwrap_or_else(new))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct RefundMail(TicketRefundMailDue);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefundDetails {
    order_id: OrderId,
}

impl From<TicketRefundMailDue> for RefundMail {
    fn from(due: TicketRefundMailDue) -> Self {
        Self(due)
    }
}

impl MailCall for RefundMail {
    type Details = RefundDetails;

    fn details(&self) -> RefundDetails {
        RefundDetails { order_id: self.0.order_id.clone() }
    }

    fn render(self) -> Mail {
        let Self(TicketRefundMailDue { order_id, to, amount }) = self;
        let why = format!("you paid your order {order_id}, but its ticket is not yours.");
        let cause = "You gave it back, or the order had ended before your payment.";
        let what = format!("We have given {amount} back. Your bank may need some days to show it.");
        Mail {
            to,
            subject: format!("Your refund for order {order_id}"),
            text: format!("Hello,\n\n{why}\n{cause}\n{what}\n"),
            html: html! { p { "Hello," } p { (why) } p { (cause) } p { (what) } }.into_string(),
            attachments: Vec::new(),
        }
    }
}

impl MailDetails for RefundDetails {
    type Filter = Unfiltered;

    fn id(&self) -> String {
        self.order_id.to_string()
    }

    fn selection(_: &Unfiltered) -> Option<(&'static str, &str)> {
        None
    }
}

impl Document for Buyer {
    const COLLECTION: &'static str = "buyers";
    fn id(&self) -> String {
        self.user_id.to_string()
    }
}
