//! The page at `/`: plain HTML. Maud escapes every value.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    Mail,
    broker::{RecentEvent, Stage},
    state::{DeadLetter, ServiceState, State},
};

const STYLE: &str = include_str!("page.css");

pub(crate) fn render(state: &State) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "pushbox, locally" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "pushbox" } p { "The local stack. " a href="/" { "Refresh" } " · " a href="/_local/state" { "JSON" } } }
                main {
                    (section("Services", state.services.len(), services(&state.services)))
                    (section("Recent events", state.events.len(), events(&state.events)))
                    (section("Dead letters", state.dead_letter_count, dead_letters(&state.dead_letters)))
                    (section("Mails", state.mails.len(), mails(&state.mails)))
                }
            }
        }
    };
    page.into_string()
}

fn section(title: &str, count: usize, content: Markup) -> Markup {
    html! {
        section {
            h2 { (title) " " span.count { (count) } }
            @if count == 0 { p.none { "None." } } @else { table { (content) } }
        }
    }
}

fn services(services: &[ServiceState]) -> Markup {
    html! {
        thead { tr { th { "Service" } th { "System" } th { "State" } th { "Waiting" } th { "Under way" } th {} } }
        tbody {
            @for service in services {
                @let waiting = service.subscriptions.iter().map(|subscription| subscription.waiting).sum::<Option<usize>>();
                @let under_way = service.subscriptions.iter().map(|subscription| subscription.in_flight).sum::<Option<usize>>();
                @let (class, state, other) = if service.running { ("good", "up", "stop") } else { ("bad", "down", "start") };
                tr {
                    td { strong { (service.name) } br; small { (service.about) } }
                    td { (service.system) }
                    td { span.badge.(class) { (state) } }
                    td { @if let Some(waiting) = waiting { (waiting) } @else { "?" } }
                    td { @if let Some(under_way) = under_way { (under_way) } @else { "?" } }
                    td {
                        form method="post" action={ "/_local/services/" (service.name) "/" (other) } {
                            button { (other) }
                        }
                    }
                }
            }
        }
    }
}

fn events(events: &[RecentEvent]) -> Markup {
    html! {
        thead { tr { th { "Published" } th { "Event" } th { "Topic" } th { "Deliveries" } } }
        tbody {
            @for event in events {
                tr {
                    td { (time(event.published_at)) }
                    td { (event.r#type.as_deref().unwrap_or("?")) br; small { "message " (event.message_id) } }
                    td { (event.topic) }
                    td {
                        @for (subscription, fate) in &event.deliveries {
                            @let (class, stage) = label(fate.stage);
                            div {
                                span.badge.(class) { (stage) } " " (subscription)
                                @if fate.attempts > 1 { small { ", attempt " (fate.attempts) } }
                                @if let Some(failure) = &fate.failure { small { ", " (failure) } }
                            }
                        }
                        @if event.deliveries.is_empty() { small { "no subscription passes it" } }
                    }
                }
            }
        }
    }
}

fn label(stage: Stage) -> (&'static str, &'static str) {
    match stage {
        Stage::Waiting => ("", "waiting"),
        Stage::Delivered => ("", "delivered"),
        Stage::Acked => ("good", "acked"),
        Stage::Rejected => ("bad", "rejected"),
        Stage::Retrying => ("warn", "retrying"),
        Stage::DeadLettered => ("bad", "dead letter"),
    }
}

fn dead_letters(letters: &[DeadLetter]) -> Markup {
    html! {
        thead { tr { th { "Parked" } th { "Service" } th { "Event" } th { "Reason" } } }
        tbody {
            @for letter in letters {
                tr {
                    td { (time(letter.published_at)) }
                    td { (letter.service) }
                    td { (letter.r#type.as_deref().unwrap_or("?")) br; small { "message " (letter.message_id) } }
                    td {
                        (letter.reason)
                        details {
                            summary { "Message" }
                            pre { (letter.data) }
                            dl { @for (name, value) in &letter.attributes { dt { (name) } dd { (value) } } }
                        }
                    }
                }
            }
        }
    }
}

fn mails(mails: &[Mail]) -> Markup {
    html! {
        thead { tr { th { "Sent" } th { "To" } th { "Mail" } } }
        tbody {
            @for mail in mails {
                tr {
                    td { (time(mail.sent_at)) }
                    td { (mail.to) }
                    td { details { summary { (mail.subject) } pre { (mail.text) } } }
                }
            }
        }
    }
}

fn time(time: jiff::Timestamp) -> Markup {
    html! { time datetime=(time) { (time.strftime("%H:%M:%S%.3f")) } }
}
