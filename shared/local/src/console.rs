//! The console: the pages at `/` and below `/_local/`, rendered here, and the stream that keeps them live. Maud escapes
//! every value. The scripts in `assets/` only improve what works without them.

mod actions;
pub(crate) mod assets;
mod badges;
mod event;
mod events;
mod extras;
mod form;
mod guard;
mod layout;
mod letters;
mod mailbox;
mod map;
mod overview;
mod payments;
mod problems;
mod send;
mod services;
mod story;
mod stream;
mod tree;

use axum::{
    Router,
    response::Response,
    routing::{get, post},
};
use maud::html;
use pushbox::Route;

use crate::Stack;

pub(crate) use extras::{Extras, Source};
pub use extras::{Payment, Switch, Try};
pub(crate) use guard::{Port, refuse_other_sites};
pub(crate) use problems::explain;

/// The parts that the console of a [deployment](crate::Deployment) shares.
pub(crate) mod shared {
    pub(crate) use super::{
        badges::{command, empty, pretty, span, time},
        form::{Form, done, invalid},
        guard::{Port, refuse_other_sites},
        layout::{Frame, View, framed, heading, navigation},
        letters::command_line,
        map::{Backlog as Waiting, Look},
        overview::{chosen_system, figure, systems, tabs},
        problems::explained,
        story::shown,
        tree::{Sources, of_key},
    };
}

/// All pages, the stream and the actions.
pub(crate) fn routes() -> Router<Stack> {
    Router::new()
        .route("/", get(overview::show))
        .route("/_local/stream", get(stream::show))
        .route("/_local/assets/{name}", get(assets::show))
        .route("/_local/events", get(events::show))
        .route("/_local/events/clear", post(actions::clear_events))
        .route("/_local/events/{id}", get(event::show))
        .route("/_local/events/{id}/deliver", post(actions::deliver))
        .route("/_local/send", get(send::show))
        .route("/_local/send/{event}", post(send::send))
        .route("/_local/try/{id}", post(actions::carry_out))
        .route("/_local/services", get(services::show))
        .route("/_local/services/{service}/stop", post(actions::stop))
        .route("/_local/services/{service}/start", post(actions::start))
        .route("/_local/services/{service}/kill", post(actions::kill))
        .route("/_local/services/{service}/faults", post(actions::set_faults))
        .route("/_local/broker/faults", post(actions::set_broker_faults))
        .route("/_local/switches/{id}", post(actions::set_switch))
        .route("/_local/faults/end", post(actions::end_faults))
        .route("/_local/clock/advance", post(actions::advance_clock))
        .route("/_local/clock/next", post(actions::next_timer))
        .route("/_local/clock/real", post(actions::real_clock))
        .route("/_local/dead-letters", get(letters::show))
        .route("/_local/dead-letters/replay", post(letters::replay))
        .route("/_local/dead-letters/drop", post(letters::drop_letters))
        .route("/_local/mailbox", get(mailbox::show))
        .route("/_local/mailbox/{id}", get(mailbox::show_mail))
        .route("/_local/payments", get(payments::show))
}

/// The routes of a service.
pub(crate) fn service_routes(stack: &Stack, service: &str, about: &str, routes: &[Route]) -> Response {
    let content = html! {
        (layout::heading(service, html! { "This service " (about) "." }))
        section.card {
            table {
                thead { tr { th { "Method" } th { "Path" } } }
                tbody {
                    @for route in routes {
                        @let path = format!("/{service}{}", route.path);
                        tr {
                            td { code { (route.method) } }
                            // A path with a parameter does not work as a link.
                            td { @if route.method == "GET" && !path.contains('{') { a href=(path) { (path) } } @else { (path) } }
                        }
                    }
                }
            }
        }
    };
    layout::page(stack, layout::View::Services, service, &content)
}
