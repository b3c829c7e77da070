//! Mails to customers whose order is cancelled or rejected: one of each kind for an order.

use effects::mail::{Mail, MailCall, MailDetails, MailEffect, Mailer, list_mails};
use events::{EmailAddress, Money, OrderId, OrderRejected, PaymentFailed, RejectedLine, RejectionReason};
use maud::html;
use pushbox::Service;
use serde::{Deserialize, Serialize};

pub fn service(mailer: Mailer) -> Service {
    Service::new("cancel-mail-service", "mails customers whose order failed")
        .effect(MailEffect::<PaymentFailed, Notice>::new(mailer.clone()))
        .effect(MailEffect::<OrderRejected, Notice>::new(mailer))
        .get("/emails", list_mails::<NoticeDetails>)
}

#[derive(Serialize, Deserialize)]
struct Notice {
    order_id: OrderId,
    to: EmailAddress,
    reason: Reason,
}

#[derive(Serialize, Deserialize)]
enum Reason {
    Unpaid(Money),
    Unavailable(Vec<RejectedLine>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NoticeDetails {
    order_id: OrderId,
    kind: Kind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Cancelled,
    Rejected,
}

impl From<PaymentFailed> for Notice {
    fn from(PaymentFailed { order_id, customer_email, total, .. }: PaymentFailed) -> Self {
        Self { order_id, to: customer_email, reason: Reason::Unpaid(total) }
    }
}

impl From<OrderRejected> for Notice {
    fn from(OrderRejected { order_id, customer_email, lines }: OrderRejected) -> Self {
        Self { order_id, to: customer_email, reason: Reason::Unavailable(lines) }
    }
}

impl MailCall for Notice {
    type Details = NoticeDetails;

    fn details(&self) -> NoticeDetails {
        let kind = match self.reason {
            Reason::Unpaid(_) => Kind::Cancelled,
            Reason::Unavailable(_) => Kind::Rejected,
        };
        NoticeDetails { order_id: self.order_id.clone(), kind }
    }

    fn render(self) -> Mail {
        let Self { order_id, to, reason } = self;
        let (subject, lines) = match reason {
            Reason::Unpaid(total) => (
                format!("Your order {order_id} is cancelled"),
                vec![format!("Your payment of {total} was declined. You have not been charged.")],
            ),
            Reason::Unavailable(lines) => {
                (format!("We cannot deliver your order {order_id}"), lines.iter().map(explain).collect())
            }
        };
        Mail {
            to,
            subject,
            text: format!("Hello,\n\n{}\n\nPlease order again.\n", lines.join("\n")),
            html: html! {
                p { "Hello," }
                @for line in &lines { p { (line) } }
                p { "Please order again." }
            }
            .into_string(),
            attachments: Vec::new(),
        }
    }
}

fn explain(RejectedLine { sku, reason, quantity, available }: &RejectedLine) -> String {
    match reason {
        RejectionReason::UnknownSku => format!("{sku}: we do not sell this."),
        RejectionReason::ShortOfStock => {
            format!("{sku}: you ordered {quantity}, and we have {}.", available.unwrap_or_default())
        }
        RejectionReason::OtherCurrency => format!("{sku}: it is sold in another currency than the rest."),
        RejectionReason::TotalTooLarge => format!("{sku}: the order costs more than we can charge at once."),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmailFilter {
    order_id: Option<OrderId>,
}

impl MailDetails for NoticeDetails {
    type Filter = EmailFilter;

    fn id(&self) -> String {
        match self.kind {
            Kind::Cancelled => format!("cancelled-{}", self.order_id),
            Kind::Rejected => format!("rejected-{}", self.order_id),
        }
    }

    fn selection(filter: &EmailFilter) -> Option<(&'static str, &str)> {
        filter.order_id.as_ref().map(|id| ("orderId", id.as_str()))
    }
}
