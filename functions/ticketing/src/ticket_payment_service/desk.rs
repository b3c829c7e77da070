//! The routes: a buyer pays an order and follows the payment. Nobody else sees it.

use axum::{Json, extract::Path};
use events::{Money, OrderId, PaymentMethod};
use jiff::Timestamp;
use pushbox::{Command, Context, Documents, Failure, FieldErrors, Problem, Reply, SignedIn};
use serde::{Deserialize, Serialize};

use super::account::{Account, State};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewPayment {
    #[serde(default)]
    order_id: String,
    #[serde(default)]
    payment_method: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PaymentView {
    order_id: OrderId,
    status: &'static str,
    amount: Money,
    until: Timestamp,
    /// How many charges have begun.
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    charge_id: Option<String>,
    /// Why the charge was declined, or why its refund failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

pub(super) async fn pay(user: SignedIn, command: Command<NewPayment>) -> Result<Reply, Problem> {
    let NewPayment { order_id, payment_method } = &command.body;
    let mut errors = FieldErrors::default();
    let order_id = errors.parse("/orderId", order_id);
    let method: Option<PaymentMethod> = errors.parse("/paymentMethod", payment_method);
    if method.as_ref().is_some_and(PaymentMethod::looks_like_a_card_number) {
        errors.note("/paymentMethod", "this looks like a card's number; send the id of a payment method");
        return Err(errors.into());
    }
    let (Some(order_id), Some(method)) = (order_id, method) else { return Err(errors.into()) };
    command.run((user, order_id, method), begin).await
}

async fn begin(
    (user, order_id, method): (SignedIn, OrderId, PaymentMethod),
    cx: Context,
) -> Result<Reply, Problem> {
    let buyer = user.confirm(&cx).await?;
    let account: Option<Account> = cx.get(order_id.as_str()).await?;
    let mut account = account.filter(|account| account.is_of(buyer.user())).ok_or_else(no_such_order)?;
    account.begin_payment(&buyer, method, &cx)?;
    cx.put(&account);
    Ok(Reply::accepted(&PaymentView::of(account)?).at(format!("payments/{order_id}")))
}

pub(super) async fn payment(
    user: SignedIn,
    documents: Documents,
    Path(order_id): Path<OrderId>,
) -> Result<Json<PaymentView>, Problem> {
    let account: Option<Account> = documents.get(order_id.as_str()).await?;
    let account = account.filter(|account| account.is_of(user.user())).ok_or_else(no_such_order)?;
    Ok(Json(PaymentView::of(account)?))
}

/// The same answer for somebody else's order, and for one that does not hold its ticket yet.
fn no_such_order() -> Problem {
    Problem::not_found("order that you can pay")
}

impl PaymentView {
    fn of(account: Account) -> Result<Self, Failure> {
        let due = account.due()?.clone();
        let (status, code) = match &account.state {
            State::Unpaid => ("unpaid", None),
            State::Pending { .. } => ("pending", None),
            State::Declined { code } => ("declined", Some(code.clone())),
            State::Paid { .. } => ("paid", None),
            State::Refunding { .. } => ("refunding", None),
            State::Refunded { .. } => ("refunded", None),
            State::RefundFailed { code, .. } => ("refundFailed", Some(code.clone())),
        };
        Ok(Self {
            status,
            amount: due.price,
            until: due.until,
            attempts: account.attempts,
            charge_id: account.state.charge().map(str::to_owned),
            code,
            order_id: account.order_id,
        })
    }
}
