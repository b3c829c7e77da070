//! Draws a map as SVG. The scripts find an edge by `data-edge`, which is `<from>><to>`.

use maud::{Markup, html};

use super::{
    graph::{Edge, Graph, Kind, Node},
    place::{Placed, Rect, Route},
};
use crate::process::Running;

/// What a map shows beyond its shape.
pub(crate) struct Look<'a> {
    /// A service, to which everything else steps back.
    pub(crate) only: Option<&'a str>,
    /// Whether a service answers; none if nobody knows.
    pub(crate) running: &'a dyn Fn(&str) -> Option<Running>,
    /// The messages that wait for a service.
    pub(crate) backlog: &'a dyn Fn(&str) -> Backlog,
    /// The delayed events of a type: how many, and in how long the first one is due.
    pub(crate) due: &'a dyn Fn(&str) -> Option<(usize, String)>,
    /// The link of a service.
    pub(crate) link: &'a dyn Fn(&str) -> String,
    /// The link of a type of event, if it has one.
    pub(crate) event_link: &'a dyn Fn(&str) -> Option<String>,
}

/// The messages that wait for a service. A number is none if nobody knows it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Backlog {
    /// Not yet delivered, or between two deliveries.
    pub(crate) waiting: Option<usize>,
    pub(crate) dead: Option<usize>,
}

/// A wider map scrolls on a narrow screen, so that its text stays readable.
const WIDE: i32 = 900;

/// The map of `name`.
pub(crate) fn draw(name: &str, graph: &Graph, placed: &Placed, look: &Look<'_>) -> Markup {
    let Placed { width, height, boxes, routes } = placed;
    let near = near(graph, look.only);
    html! {
        svg.map.wide[*width > WIDE] viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="group"
            aria-label=(format!("The services and events of {name}")) data-map=(name) {
            defs {
                marker id=(format!("arrow-{name}")) viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" {
                    path d="M0 0.5 L7.5 4 L0 7.5 z" {}
                }
            }
            g.edges {
                @for (edge, route) in graph.edges.iter().zip(routes) { (draw_edge(name, graph, edge, route, look, &near)) }
            }
            g.dots {}
            g.nodes {
                @for (index, (node, at)) in graph.nodes.iter().zip(boxes).enumerate() {
                    @let away = if near.get(index).copied().unwrap_or(true) { "" } else { " away" };
                    @match &node.kind {
                        Kind::Service { is_public } => (draw_service(node, *at, *is_public, look, away)),
                        Kind::Event { topic } => (draw_event(node, *at, topic, look, away)),
                    }
                }
            }
        }
    }
}

/// Whether each node is the isolated service, or next to it.
fn near(graph: &Graph, only: Option<&str>) -> Vec<bool> {
    let Some(only) = graph.nodes.iter().position(|node| Some(&*node.name) == only) else {
        return vec![true; graph.nodes.len()];
    };
    let touches = |node: usize| {
        node == only
            || graph
                .edges
                .iter()
                .any(|edge| (edge.from == only && edge.to == node) || (edge.to == only && edge.from == node))
    };
    (0..graph.nodes.len()).map(touches).collect()
}

fn draw_edge(
    name: &str,
    graph: &Graph,
    edge: &Edge,
    route: &Route,
    look: &Look<'_>,
    near: &[bool],
) -> Markup {
    let (from, to) = (&graph.nodes[edge.from], &graph.nodes[edge.to]);
    let both = near[edge.from] && near[edge.to];
    let touches = look.only.is_none_or(|only| from.name == only || to.name == only);
    let away = if both && touches || near.iter().all(|near| *near) { "" } else { " away" };
    let waits = matches!(to.kind, Kind::Service { .. }) && (look.backlog)(&to.name).waiting > Some(0);
    let class = format!(
        "edge{}{}{}{away}",
        if edge.is_back { " back" } else { "" },
        if edge.is_delayed { " delayed" } else { "" },
        if waits { " waits" } else { "" },
    );
    let key = format!("{}>{}", from.name, to.name);
    html! {
        path class=(class) d=(path(route)) marker-end=(format!("url(#arrow-{name})"))
            data-edge=(key) data-part=(format!("edge {key}")) {}
    }
}

fn path(route: &Route) -> String {
    match route {
        Route::Forward(points) => {
            let mut path = String::new();
            for (index, &(x, y)) in points.iter().enumerate() {
                match index.checked_sub(1).and_then(|before| points.get(before)) {
                    None => path = format!("M{x} {y}"),
                    Some(&(_, before)) if before == y => path += &format!(" L{x} {y}"),
                    Some(&(from, before)) => {
                        let middle = i32::midpoint(from, x);
                        path += &format!(" C{middle} {before} {middle} {y} {x} {y}");
                    }
                }
            }
            path
        }
        Route::Back { from: (x, y), to: (left, up), lane } => {
            const R: i32 = 10;
            format!(
                "M{x} {y} V{} Q{x} {lane} {} {lane} H{} Q{left} {lane} {left} {} V{up}",
                lane - R,
                x - R,
                left + R,
                lane - R
            )
        }
    }
}

fn draw_service(node: &Node, at: Rect, is_public: bool, look: &Look<'_>, away: &str) -> Markup {
    let Rect { x, y, width, height } = at;
    let name = &node.name;
    let state = (look.running)(name).map(|running| match running {
        Running::Up => "up",
        Running::Stopped => "stopped",
        Running::Killed => "killed",
    });
    let Backlog { waiting, dead } = (look.backlog)(name);
    let only = if look.only == Some(name) { " only" } else { "" };
    let letters = if dead == Some(1) { "dead letter" } else { "dead letters" };
    let known = [
        state.map(str::to_owned),
        waiting.map(|count| format!("{count} waiting")),
        dead.map(|count| format!("{count} {letters}")),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    let label = if known.is_empty() { name.clone() } else { format!("{name}: {}", known.join(", ")) };
    let middle = y + height / 2;
    html! {
        a class=(format!("node service {}{only}{away}", state.unwrap_or_default())) href=((look.link)(name)) aria-label=(label)
            data-part=(format!("node {name}")) data-node=(name) {
            rect.box x=(x) y=(y) width=(width) height=(height) rx="10" {}
            @if is_public { rect.public x=(x + 4) y=(y + 4) width=(width - 8) height=(height - 8) rx="7" {} }
            @if state.is_some() { circle.state cx=(x + 17) cy=(middle) r="4" {} }
            text.name x=(x + 29) y=(middle + 4) { (name) }
            @if let Some(waiting @ 1..) = waiting { (pill(x, y, waiting, "waiting")) }
            @if let Some(dead @ 1..) = dead { (pill(x + width - 6, y, dead, "dead")) }
        }
    }
}

/// A number at the upper edge of a box.
fn pill(x: i32, y: i32, count: usize, class: &str) -> Markup {
    let text = if count > 9_999 { "9999+".to_owned() } else { count.to_string() };
    let width = 14 + 7 * i32::try_from(text.len()).unwrap_or(0);
    html! {
        g class=(format!("pill {class}")) {
            rect x=(x - width / 2 + 4) y=(y - 9) width=(width) height="18" rx="9" {}
            text x=(x + 4) y=(y + 4) { (text) }
        }
    }
}

fn draw_event(node: &Node, at: Rect, topic: &str, look: &Look<'_>, away: &str) -> Markup {
    let Rect { x, y, width, height } = at;
    let name = &node.name;
    html! {
        a class=(format!("node event{away}")) href=[(look.event_link)(name)]
            data-part=(format!("node {name}")) data-node=(name) {
            rect.box x=(x) y=(y) width=(width) height=(height) rx=(height / 2) {}
            text.name x=(x + width / 2) y=(y + 20) { (name) }
            @match (look.due)(name) {
                Some((count, first)) => text.topic.due x=(x + width / 2) y=(y + 35) { (count) " due, first in " (first) },
                None => text.topic x=(x + width / 2) y=(y + 35) { (topic) },
            }
        }
    }
}
