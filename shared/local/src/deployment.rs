//! The console of a deployment: a project in the cloud, or emulators. It has the pages that need no broker in memory. It
//! reads; only if it may replay, it also publishes dead letters again.

mod letters;
mod look;
mod pages;
mod replays;
mod sought;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use catalog::Catalog;
use maud::{Markup, html};
use pushbox::{Clock, Problem, publisher::Publisher, store::Store};
use redrive::{Desk, Monitoring, Names, Receipts, Subscriber};

use self::{letters::Letters, pages::Backlogs};
use crate::{
    console::{
        assets,
        shared::{
            Frame, Port, Sources, View, command_line, explained, framed, navigation, refuse_other_sites,
        },
    },
    stack::wants_html,
};

/// A deployment, as its console reaches it.
pub struct Deployment {
    /// Its services and events.
    pub catalog: Catalog,
    /// The names of its resources.
    pub names: Names,
    /// Its documents.
    pub store: Arc<dyn Store>,
    /// The holders of its dead letters.
    pub subscriber: Arc<dyn Subscriber>,
    /// Publishes replays.
    pub publisher: Arc<dyn Publisher>,
    /// The sizes of its backlogs. The emulators do not report them.
    pub monitoring: Option<Monitoring>,
    /// Whether a person may replay dead letters from the page.
    pub may_replay: bool,
}

/// The state of the console.
#[derive(Clone)]
struct Console {
    deployment: Arc<Deployment>,
    letters: Letters,
}

/// The entries of the navigation.
const VIEWS: [View; 4] = [View::Map, View::Events, View::Services, View::Letters];

impl Deployment {
    /// The console, for this port of this machine. It refuses requests that another site makes a browser send.
    pub fn console(self, port: u16) -> Router {
        let console = Console { deployment: Arc::new(self), letters: Letters::default() };
        Router::new()
            .route("/", get(pages::map))
            .route("/_local/assets/{name}", get(assets::show))
            .route("/_local/events", get(pages::events))
            .route("/_local/services", get(pages::services))
            .route("/_local/dead-letters", get(letters::show))
            .route("/_local/dead-letters/look", post(letters::look))
            .route("/_local/dead-letters/replay", post(replays::replay))
            .fallback(|| async { Problem::no_such_path() })
            .method_not_allowed_fallback(|| async { Problem::wrong_method() })
            .with_state(console.clone())
            .layer(from_fn_with_state(Port(port), refuse_other_sites))
            .layer(from_fn_with_state(console, explain))
    }
}

/// Shows every error to a person as a page.
async fn explain(State(console): State<Console>, request: Request, next: Next) -> Response {
    let is_for_person = wants_html(request.headers());
    let response = next.run(request).await;
    explained(response, is_for_person, |title, content| console.page(View::Problem, title, content)).await
}

impl Console {
    fn page(&self, view: View, title: &str, content: &Markup) -> Response {
        let Deployment { names, may_replay, .. } = &*self.deployment;
        let frame = Frame {
            sequence: None,
            navigation: navigation(&VIEWS, view, self.letters.count()),
            tools: html! {
                span.hint { (names.project) @if !names.prefix.is_empty() { " · " (names.prefix) } }
                span.badge.(if *may_replay { "warn" } else { "plain" }) { @if *may_replay { "may replay" } @else { "read-only" } }
            },
            bars: html! {},
            footer: html! {
                "The console keeps the last look at the dead letters: the " (look::MOST_GROUPS) " largest groups, the newest "
                (look::MOST_LISTED) " letters of each, up to " (look::MOST_DATA >> 10) " KiB of a letter's data, and "
                (look::MOST_BYTES >> 20) " MiB in all. It keeps the last " (replays::MOST_RUNS) " replays. "
                @if !may_replay { "It publishes and deletes nothing. To replay dead letters from here, start it with --allow-replay." }
            },
        };
        framed(&frame, title, content)
    }

    fn sources(&self) -> Sources<'_> {
        let Deployment { catalog, names, store, .. } = &*self.deployment;
        Sources { catalog, names, store: &**store, now: Clock::system().now() }
    }

    async fn backlogs(&self) -> Backlogs {
        let monitoring = self.deployment.monitoring.as_ref()?;
        Some(monitoring.backlogs(Clock::system().now()).await)
    }

    /// An empty desk for one service, or for all.
    fn desk(&self, service: Option<&str>) -> Desk {
        let Deployment { catalog, names, store, subscriber, publisher, .. } = &*self.deployment;
        let receipts = Receipts::Store(store.clone(), Clock::system());
        let (subscriber, publisher) = (subscriber.clone(), publisher.clone());
        Desk::new(catalog, service, names.clone(), subscriber, publisher, receipts, Clock::system())
    }

    /// The command line for dead letters.
    fn command(&self, arguments: &str) -> String {
        command_line(arguments, &format!("--project {}", self.deployment.names.project))
    }
}
