//! Mails with invoices: one for each order.

use effects::mail::{Attachment, Mail, MailCall, MailDetails, MailEffect, Mailer, list_mails};
use events::{InvoiceCreated, InvoiceNumber, Money, OrderId};
use jiff::tz::TimeZone;
use maud::{DOCTYPE, html};
use pushbox::Service;
use serde::{Deserialize, Serialize};

pub fn service(mailer: Mailer) -> Service {
    Service::new("invoice-mail-service", "mails the invoices")
        .effect(MailEffect::<InvoiceCreated, InvoiceMail>::new(mailer))
        .get("/emails", list_mails::<InvoiceDetails>)
}

#[derive(Serialize, Deserialize)]
struct InvoiceMail(InvoiceCreated);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InvoiceDetails {
    order_id: OrderId,
    invoice: InvoiceNumber,
}

impl From<InvoiceCreated> for InvoiceMail {
    fn from(invoice: InvoiceCreated) -> Self {
        Self(invoice)
    }
}

impl MailCall for InvoiceMail {
    type Details = InvoiceDetails;

    fn details(&self) -> InvoiceDetails {
        let Self(invoice) = self;
        InvoiceDetails { order_id: invoice.order_id.clone(), invoice: invoice.number.clone() }
    }

    fn render(self) -> Mail {
        let Self(invoice) = self;
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
}

/// The invoice as an HTML page.
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
struct EmailFilter {
    order_id: Option<OrderId>,
}

impl MailDetails for InvoiceDetails {
    type Filter = EmailFilter;

    fn id(&self) -> String {
        self.order_id.to_string()
    }

    fn selection(filter: &EmailFilter) -> Option<(&'static str, &str)> {
        filter.order_id.as_ref().map(|id| ("orderId", id.as_str()))
    }
}
