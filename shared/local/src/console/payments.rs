//! `/_local/payments`: the charges at the local payment gateway.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    badges::{Rows, empty, time},
    extras::Payment,
    layout::{View, heading, page},
};
use crate::Stack;

/// How many payments a page lists.
const MOST_ROWS: usize = 100;

#[derive(Deserialize)]
pub(super) struct Chosen {
    #[serde(default)]
    page: String,
}

pub(super) async fn show(State(stack): State<Stack>, Query(chosen): Query<Chosen>) -> Response {
    let read = match &stack.extras.payments {
        Some(payments) => payments().await,
        None => Ok(Vec::new()),
    };
    let (payments, error) = match read {
        Ok(payments) => (payments, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let rows = Rows::new(&chosen.page, MOST_ROWS, payments.len());
    let about = html! { "The charges at the local gateway, which takes no money. Repeats with the same key are one charge, however often the gateway was asked." };
    let content = html! {
        (heading("Payments", about))
        section data-part="payments" aria-label="Payments" {
            @if let Some(error) = error {
                p.problem { "The charges cannot be read: " (error) "." }
            } @else if payments.is_empty() {
                (empty("No charges yet", html! { a href="/" { "Sign somebody up or order a teapot" } ", and a charge follows." }))
            } @else {
                p.numbers { span { b { (payments.len()) } " charges" } }
                div.scroll tabindex="0" role="region" aria-label="Payments" { table.stacks {
                    thead { tr { th { "Time" } th { "Amount" } th { "For" } th { "Method" } th { "Outcome" } th { "Asked" } th { "Key" } } }
                    tbody { @for payment in rows.of(&payments) { (row(payment)) } }
                } }
                (rows.links("/_local/payments", &[]))
            }
        }
    };
    page(&stack, View::Payments, "Payments", &content)
}

fn row(payment: &Payment) -> Markup {
    html! {
        tr {
            td data-label="Time" { (time(payment.at)) }
            td.amount data-label="Amount" { (payment.amount) }
            td data-label="For" { code { (payment.reference) } }
            td data-label="Method" { (payment.method) }
            td data-label="Outcome" {
                @match &payment.declined {
                    None => span.badge.good { "paid" },
                    Some(code) => span.badge.bad { (code) },
                }
            }
            td.amount data-label="Asked" { (payment.asked) "×" }
            td data-label="Key" { code { (payment.key) } }
        }
    }
}
