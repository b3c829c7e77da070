//! `/_local/mailbox`: the mails of the local mailbox.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use maud::{Markup, html};
use pushbox::Problem;
use serde::Deserialize;

use super::{
    badges::{Rows, empty, time},
    layout::{View, heading, page},
};
use crate::{Mail, Stack, mails::find};

/// How many mails a page lists.
const MOST_ROWS: usize = 100;

#[derive(Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    text: String,
    #[serde(default)]
    page: String,
}

pub(super) async fn show(State(stack): State<Stack>, Query(search): Query<Search>) -> Response {
    let (mails, error) = match (stack.mailbox)().await {
        Ok(mails) => (mails, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let text = search.text.to_lowercase();
    let matches = |mail: &&Mail| {
        [&mail.to, &mail.subject, &mail.text].iter().any(|part| part.to_lowercase().contains(&text))
    };
    let found: Vec<&Mail> = mails.iter().filter(matches).collect();
    let rows = Rows::new(&search.page, MOST_ROWS, found.len());
    let content = html! {
        (heading("Mailbox", html! { "The mails that the services have sent. None leaves this machine." }))
        form.filters method="get" action="/_local/mailbox" role="search" data-filters {
            label { "Text" input type="search" name="text" value=(search.text) placeholder="Recipient, subject or text"; }
            button data-without-script { "Search" }
        }
        section data-part="mails" aria-label="Mails" {
            @if let Some(error) = error {
                p.problem { "The mails cannot be read: " (error) "." }
            } @else if mails.is_empty() {
                (empty("No mails yet", html! { a href="/" { "Sign somebody up" } ", and a welcome mail arrives." }))
            } @else if found.is_empty() {
                (empty("No mail matches", html! { a href="/_local/mailbox" { "Show all mails" } "." }))
            } @else {
                p.numbers { span { b { (found.len()) } " of " (mails.len()) " mails" } }
                ol.log.mails data-list { @for mail in rows.of(&found) { (row(mail)) } }
                (rows.links("/_local/mailbox", &[("text", &search.text)]))
            }
        }
    };
    page(&stack, View::Mailbox, "Mailbox", &content)
}

fn row(mail: &Mail) -> Markup {
    html! {
        li data-key=(mail.id) {
            a.row href=(format!("/_local/mailbox/{}", mail.id)) {
                (time(mail.sent_at))
                span.to { (mail.to) }
                strong { (mail.subject) }
                @if !mail.attachments.is_empty() { span.badge.plain { (mail.attachments.len()) " attached" } }
            }
        }
    }
}

pub(super) async fn show_mail(
    State(stack): State<Stack>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mail = find(&stack.mailbox, &id).await?;
    let source = format!("/_local/mails/{}", mail.id);
    let content = html! {
        div.heading {
            p.back { a href="/_local/mailbox" { "Mailbox" } }
            h1 { (mail.subject) }
            p { "To " (mail.to) ", " (time(mail.sent_at)) }
        }
        @if !mail.attachments.is_empty() {
            ul.attachments {
                @for (number, file) in mail.attachments.iter().enumerate() {
                    li { a.button href=(format!("{source}/attachments/{number}")) { (file.name) " " small { (file.content_type) ", " (file.content.len()) " bytes" } } }
                }
            }
        }
        div.columns {
            section {
                h2 { "HTML" }
                @if mail.html.is_empty() { p.hint { "This mail has no HTML." } }
                // The mail's own policy forbids scripts; the sandbox does so, too.
                @else { iframe.mail src=(source) sandbox="" title="The mail as HTML" {} }
            }
            section {
                h2 { "Text" }
                pre { (mail.text) }
                h2 { "Headers" }
                dl {
                    dt { "To" } dd { (mail.to) }
                    dt { "Subject" } dd { (mail.subject) }
                    dt { "Date" } dd { (mail.sent_at) }
                    dt { "Idempotency key" } dd { (mail.id) }
                }
            }
        }
    };
    Ok(page(&stack, View::Mailbox, &mail.subject, &content))
}
