//! The routes: people offer tickets, change them and look at them.

use axum::{Json, extract::Path, http::StatusCode};
use events::{Money, TicketCreated, TicketId, TicketState, TicketTitle, UserId};
use jiff::Timestamp;
use pushbox::{Command, Context, Documents, Failure, FieldErrors, Page, PageQuery, Problem, Reply, SignedIn};
use serde::{Deserialize, Serialize};

use super::Ticket;
use crate::{
    caller::{Nothing, user_id},
    price::NewPrice,
};

#[derive(Deserialize)]
pub(super) struct NewTicket {
    #[serde(default)]
    title: String,
    #[serde(default)]
    price: NewPrice,
}

/// A ticket as everybody sees it: not who orders it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TicketView {
    ticket_id: TicketId,
    seller: UserId,
    title: TicketTitle,
    price: Money,
    state: &'static str,
    version: u32,
    /// Whether it can be ordered now.
    buyable: bool,
    /// The end of the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl NewTicket {
    fn parse(&self) -> Result<(TicketTitle, Money), Problem> {
        let mut errors = FieldErrors::default();
        let title = errors.parse("/title", &self.title);
        let price = self.price.parse("/price", &mut errors);
        title.zip(price).ok_or_else(|| errors.into())
    }
}

pub(super) async fn offer(user: SignedIn, command: Command<NewTicket>) -> Result<Reply, Problem> {
    let (title, price) = command.body.parse()?;
    command.run((user, title, price), create_ticket).await
}

async fn create_ticket(
    (user, title, price): (SignedIn, TicketTitle, Money),
    cx: Context,
) -> Result<Reply, Problem> {
    let seller = user_id(&*user.confirm(&cx).await?)?;
    let ticket_id: TicketId = cx.new_id().parse().map_err(Failure::from)?;
    let (version, state, on_offer) = (1, TicketState::Listed, true);
    let ticket = Ticket { ticket_id, seller, title, price, version, state, on_offer };
    cx.create(&ticket).require_new()?;
    let view = TicketView::of(&ticket, cx.now());
    let Ticket { ticket_id, seller, title, price, .. } = ticket;
    let location = format!("tickets/{ticket_id}");
    cx.publish(&TicketCreated { ticket_id, version, seller, title, price });
    Ok(Reply::created(&view).at(location))
}

pub(super) async fn edit(
    user: SignedIn,
    Path(id): Path<TicketId>,
    command: Command<NewTicket>,
) -> Result<Reply, Problem> {
    let (title, price) = command.body.parse()?;
    let change = async |(user, id, title, price), cx: Context| {
        let mut ticket = own_ticket(&user, &id, &cx).await?;
        must_be_listed(&ticket)?;
        (ticket.title, ticket.price) = (title, price);
        ticket.change(TicketState::Listed, &cx);
        Ok(Reply::ok(&TicketView::of(&ticket, cx.now())))
    };
    command.run((user, id, title, price), change).await
}

pub(super) async fn withdraw(
    user: SignedIn,
    Path(id): Path<TicketId>,
    command: Command<Nothing>,
) -> Result<Reply, Problem> {
    let withdraw = async |(user, id), cx: Context| {
        let mut ticket = own_ticket(&user, &id, &cx).await?;
        if ticket.state != TicketState::Withdrawn {
            must_be_listed(&ticket)?;
            ticket.change(TicketState::Withdrawn, &cx);
        }
        Ok(Reply::ok(&TicketView::of(&ticket, cx.now())))
    };
    command.run((user, id), withdraw).await
}

async fn own_ticket(user: &SignedIn, id: &TicketId, cx: &Context) -> Result<Ticket, Problem> {
    let user = user.confirm(cx).await?;
    let ticket: Ticket = cx.get(id.as_str()).await?.ok_or_else(|| Problem::not_found("ticket"))?;
    if ticket.seller.as_str() != user.user() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "Only its seller can change a ticket."));
    }
    Ok(ticket)
}

/// A lock stays until its order ends, even if its time has passed: a payment may be on its way.
fn must_be_listed(ticket: &Ticket) -> Result<(), Problem> {
    let detail = match &ticket.state {
        TicketState::Listed => return Ok(()),
        TicketState::Locked { until, .. } => {
            format!("Somebody is buying the ticket: it is locked until {until}.")
        }
        TicketState::Sold { .. } => "The ticket is sold.".to_owned(),
        TicketState::Withdrawn => "The ticket is withdrawn.".to_owned(),
    };
    Err(Problem::new(StatusCode::CONFLICT, detail))
}

pub(super) async fn show(
    documents: Documents,
    Path(id): Path<TicketId>,
) -> Result<Json<TicketView>, Problem> {
    let ticket: Option<Ticket> = documents.get(id.as_str()).await?;
    let ticket = ticket.ok_or_else(|| Problem::not_found("ticket"))?;
    Ok(Json(TicketView::of(&ticket, documents.now())))
}

pub(super) async fn list(documents: Documents, page: PageQuery) -> Result<Json<Page<TicketView>>, Problem> {
    let (now, mut after, mut buyable) = (documents.now(), String::new(), Vec::new());
    // Locks are few and short, so there is seldom a second round.
    while buyable.len() <= page.limit() {
        let on_offer = vec![("onOffer", true.into())];
        let found: Page<Ticket> = documents.page_after(on_offer, &after, &page).await?;
        let Some(last) = found.items.last() else { break };
        after = last.ticket_id.to_string();
        buyable.extend(found.items.into_iter().filter(|ticket| ticket.is_buyable(now)));
        if found.next.is_none() {
            break;
        }
    }
    let Page { items, next } = Page::cut(buyable, page.limit(), |ticket| ticket.ticket_id.to_string());
    Ok(Json(Page { items: items.iter().map(|ticket| TicketView::of(ticket, now)).collect(), next }))
}

impl TicketView {
    fn of(ticket: &Ticket, now: Timestamp) -> Self {
        let (state, until) = match ticket.state {
            TicketState::Listed => ("listed", None),
            TicketState::Locked { until, .. } => ("locked", Some(until)),
            TicketState::Sold { .. } => ("sold", None),
            TicketState::Withdrawn => ("withdrawn", None),
        };
        Self {
            ticket_id: ticket.ticket_id.clone(),
            seller: ticket.seller.clone(),
            title: ticket.title.clone(),
            price: ticket.price.clone(),
            state,
            version: ticket.version,
            buyable: ticket.is_buyable(now),
            until,
        }
    }
}
