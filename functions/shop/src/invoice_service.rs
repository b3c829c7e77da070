//! Invoices: one for each paid order, numbered without gaps in each year.

use axum::{Json, extract::Path};
use events::{EmailAddress, InvoiceCreated, InvoiceNumber, Money, OrderId, PaymentSucceeded, PricedLine};
use jiff::{Timestamp, tz::TimeZone};
use pushbox::{Context, Document, Documents, Failure, Problem, Service, reject};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("invoice-service", "writes invoices")
        .on(create_invoice)
        .publishes::<InvoiceCreated>()
        .get("/invoices/{number}", invoice)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invoice {
    number: InvoiceNumber,
    order_id: OrderId,
    customer_email: EmailAddress,
    lines: Vec<PricedLine>,
    total: Money,
    issued_at: Timestamp,
}

/// Marks an order that has an invoice. Its id is the id of the order, so an order has one invoice.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invoiced {
    order_id: OrderId,
}

/// The last number of a year. All invoices of the year use this one document: numbers without gaps are
/// given one after the other, so they cannot be spread over shards.
#[derive(Serialize, Deserialize)]
struct Year {
    year: i16,
    last: u32,
}

async fn create_invoice(paid: PaymentSucceeded, cx: Context) -> Result<(), Failure> {
    let PaymentSucceeded { order_id, customer_email, lines, total, .. } = paid;
    // A duplicate of this event is not committed. This check is for another event about the same order.
    if cx.create(&Invoiced { order_id: order_id.clone() }).exists() {
        return Ok(());
    }
    // The year of the issue, even if the event arrives late: the number must match the date.
    let issued_at = cx.now();
    let year = issued_at.to_zoned(TimeZone::UTC).year();
    let mut counter = cx.get(year.to_string()).await?.unwrap_or(Year { year, last: 0 });
    counter.last += 1;
    cx.put(&counter);
    let number: InvoiceNumber = format!("{year}-{:06}", counter.last).parse()?;
    let invoice = Invoice { number, order_id, customer_email, lines, total, issued_at };
    if cx.create(&invoice).exists() {
        return Err(reject("the next invoice number is in use: the counter of the year is wrong"));
    }
    let Invoice { number, order_id, customer_email, lines, total, issued_at } = invoice;
    cx.publish(&InvoiceCreated { number, order_id, customer_email, lines, total, issued_at });
    Ok(())
}

async fn invoice(documents: Documents, Path(number): Path<InvoiceNumber>) -> Result<Json<Invoice>, Problem> {
    documents.get(number.as_str()).await?.map(Json).ok_or_else(|| Problem::not_found("invoice"))
}

impl Document for Invoice {
    const COLLECTION: &'static str = "invoices";
    fn id(&self) -> String {
        self.number.to_string()
    }
}

impl Document for Invoiced {
    const COLLECTION: &'static str = "invoiced";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}

impl Document for Year {
    const COLLECTION: &'static str = "years";
    fn id(&self) -> String {
        self.year.to_string()
    }
}
