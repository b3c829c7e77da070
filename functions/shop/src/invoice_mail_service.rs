//! Mails with invoices: one for each order.

use axum::Json;
use effects::mail::{Attachment, Mail, Mailer, Sent, Status};
use events::{InvoiceCreated, InvoiceNumber, Money, OrderId};
use jiff::{Timestamp, tz::TimeZone};
use maud::{DOCTYPE, html};
use pushbox::{Context, Document, Documents, Effect, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service(mailer: Mailer) -> Service {
    Service::new("invoice-mail-service", "mails the invoices")
        .effect(InvoiceMail { mailer })
        .get("/emails", emails)
        .secret("MAIL_URL")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Email {
    order_id: OrderId,
    invoice: InvoiceNumber,
    status: Status,
    at: Timestamp,
}

struct InvoiceMail {
    mailer: Mailer,
}

impl Effect for InvoiceMail {
    type Event = InvoiceCreated;
    type Call = InvoiceCreated;
    type Outcome = Sent;

    async fn claim(&self, invoice: InvoiceCreated, cx: Context) -> Result<Option<InvoiceCreated>, Failure> {
        // Another event about the same order, published by hand say: they have it already.
        Ok(cx.create(&Email::of(&invoice, Status::Sending, &cx)).is_new().then_some(invoice))
    }

    async fn perform(&self, invoice: InvoiceCreated, key: String) -> Result<Sent, Failure> {
        self.mailer.clone().send(render(invoice), key).await
    }

    async fn complete(&self, invoice: InvoiceCreated, sent: Sent, cx: Context) -> Result<(), Failure> {
        cx.put(&Email::of(&invoice, sent.into(), &cx));
        Ok(())
    }

    async fn abandon(&self, invoice: InvoiceCreated, cx: Context) -> Result<(), Failure> {
        cx.delete::<Email>(invoice.order_id.as_str());
        Ok(())
    }
}

fn render(invoice: InvoiceCreated) -> Mail {
    let InvoiceCreated { number, order_id, total, .. } = &invoice;
    Mail {
        subject: format!("Your invoice {number}"),
        text: format!(
            "Hello,\n\nthank you for your order {order_id}. You paid {total}; the invoice is attached.\n"
        ),
        html: html! {
            p { "Hello," }
            p { "thank you for your order " (order_id) ". You paid " (total) "; the invoice is attached." }
        }
        .into_string(),
        attachments: vec![Attachment {
            name: format!("invoice-{number}.html"),
            content_type: "text/html; charset=utf-8".to_owned(),
            content: page(&invoice).into_bytes(),
        }],
        to: invoice.customer_email,
    }
}

/// The invoice itself.
fn page(invoice: &InvoiceCreated) -> String {
    let InvoiceCreated { number, order_id, customer_email, lines, total, issued_at } = invoice;
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Invoice " (number) } }
            body {
                h1 { "Invoice " (number) }
                p { "Issued on " (issued_at.to_zoned(TimeZone::UTC).date()) " to " (customer_email.as_str())
                    " for order " (order_id) "." }
                table {
                    tr { th { "Product" } th { "Quantity" } th { "Price" } th { "Amount" } }
                    @for line in lines {
                        @let amount = Money {
                            minor: line.unit_price.minor.saturating_mul(line.quantity.get().into()),
                            currency: line.unit_price.currency.clone(),
                        };
                        tr { td { (line.name) } td { (line.quantity) } td { (line.unit_price) } td { (amount) } }
                    }
                    tr { th colspan="3" { "Total, paid" } th { (total) } }
                }
            }
        }
    }
    .into_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Of {
    order_id: Option<OrderId>,
}

async fn emails(documents: Documents, page: PageQuery<Of>) -> Result<Json<Page<Email>>, Problem> {
    let filters = page.filter.order_id.as_ref().map(|order| ("orderId", order.as_str().into()));
    documents.page(filters.into_iter().collect(), &page).await.map(Json)
}

impl Email {
    fn of(invoice: &InvoiceCreated, status: Status, cx: &Context) -> Self {
        Self { order_id: invoice.order_id.clone(), invoice: invoice.number.clone(), status, at: cx.now() }
    }
}

impl Document for Email {
    const COLLECTION: &'static str = "emails";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
