//! Mails to customers who do not get what they ordered: one of each kind for an order.

use std::marker::PhantomData;

use axum::Json;
use effects::mail::{Mail, Mailer, Sent, Status};
use events::{
    EmailAddress, Event, Money, OrderId, OrderRejected, PaymentFailed, RejectedLine, RejectionReason,
};
use jiff::Timestamp;
use maud::html;
use pushbox::{Context, Document, Documents, Effect, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service(mailer: Mailer) -> Service {
    Service::new("cancel-mail-service", "tells customers that they do not get what they ordered")
        .effect(NoticeMail::<PaymentFailed>::new(mailer.clone()))
        .effect(NoticeMail::<OrderRejected>::new(mailer))
        .get("/emails", emails)
        .secret("MAIL_URL")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Email {
    order_id: OrderId,
    kind: Kind,
    status: Status,
    at: Timestamp,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Cancelled,
    Rejected,
}

/// What is to be told.
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

/// The mail about an event of type `E`.
struct NoticeMail<E> {
    mailer: Mailer,
    event: PhantomData<fn(E)>,
}

impl<E> NoticeMail<E> {
    fn new(mailer: Mailer) -> Self {
        Self { mailer, event: PhantomData }
    }
}

impl<E: Event + Into<Notice>> Effect for NoticeMail<E> {
    type Event = E;
    type Call = Notice;
    type Outcome = Sent;

    async fn claim(&self, event: E, cx: Context) -> Result<Option<Notice>, Failure> {
        let notice = event.into();
        // Another event about the same order, published by hand say: they know already.
        Ok(cx.create(&notice.email(Status::Sending, &cx)).is_new().then_some(notice))
    }

    async fn perform(&self, notice: Notice, key: String) -> Result<Sent, Failure> {
        self.mailer.clone().send(render(notice), key).await
    }

    async fn complete(&self, notice: Notice, sent: Sent, cx: Context) -> Result<(), Failure> {
        cx.put(&notice.email(sent.into(), &cx));
        Ok(())
    }

    async fn abandon(&self, notice: Notice, cx: Context) -> Result<(), Failure> {
        cx.delete::<Email>(notice.email(Status::Sending, &cx).id());
        Ok(())
    }
}

fn render(Notice { order_id, to, reason }: Notice) -> Mail {
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
struct Of {
    order_id: Option<OrderId>,
}

async fn emails(documents: Documents, page: PageQuery<Of>) -> Result<Json<Page<Email>>, Problem> {
    let filters = page.filter.order_id.as_ref().map(|order| ("orderId", order.as_str().into()));
    documents.page(filters.into_iter().collect(), &page).await.map(Json)
}

impl Notice {
    fn email(&self, status: Status, cx: &Context) -> Email {
        let kind = match self.reason {
            Reason::Unpaid(_) => Kind::Cancelled,
            Reason::Unavailable(_) => Kind::Rejected,
        };
        Email { order_id: self.order_id.clone(), kind, status, at: cx.now() }
    }
}

impl Document for Email {
    const COLLECTION: &'static str = "emails";
    fn id(&self) -> String {
        match self.kind {
            Kind::Cancelled => format!("cancelled-{}", self.order_id),
            Kind::Rejected => format!("rejected-{}", self.order_id),
        }
    }
}
