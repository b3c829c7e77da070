//! The shape of a map is the same for the same catalog.

use catalog::Catalog;
use pushbox::{Context, Event, Service, System};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backlog, Graph, Look, Placed, draw};
use crate::process::Running;

macro_rules! events {
    ($($event:ident = $name:literal),*) => {$(
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct $event {}
        impl Event for $event {
            const TYPE: &'static str = $name;
            const TOPIC: &'static str = "order-events";
        }
    )*};
}
events!(Placed1 = "order.placed", Paid = "order.paid", Shipped = "order.shipped", Expired = "order.expired");

async fn ignore<E>(_: E, _: Context) -> Result<(), pushbox::Failure> {
    Ok(())
}

/// A chain of three services with a way back, an edge across two layers, and a delayed event.
fn catalog() -> Catalog {
    let services = vec![
        Service::new("api", "takes orders")
            .public()
            .publishes::<Placed1>()
            .delays::<Expired>()
            .on(ignore::<Shipped>)
            .on(ignore::<Expired>),
        Service::new("payment", "charges").on(ignore::<Placed1>).publishes::<Paid>(),
        Service::new("shipping", "ships").on(ignore::<Placed1>).on(ignore::<Paid>).publishes::<Shipped>(),
        Service::new("alone", "does nothing"),
    ];
    Catalog::of(&[System { name: "shop", services }])
}

fn drawn(only: Option<&str>) -> String {
    let catalog = catalog();
    let graph = Graph::of(&catalog, "shop");
    let placed = Placed::of(&graph);
    let look = Look {
        only,
        running: &|name| Some(if name == "payment" { Running::Killed } else { Running::Up }),
        backlog: &|name| {
            let count = |count| if name == "payment" { count } else { 0 };
            Backlog { waiting: Some(count(3)), dead: Some(count(1)) }
        },
        due: &|name| (name == "order.expired").then(|| (2, "5 min 0 s".to_owned())),
        link: &|name| format!("/?service={name}"),
        event_link: &|name| Some(format!("/_local/events?type={name}")),
    };
    draw("shop", &graph, &placed, &look).into_string().replace("><", ">\n<")
}

#[test]
fn the_map_is_the_golden_one() {
    let (found, file) = (drawn(None), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/map.svg"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &found).expect("the golden file is writable");
    }
    let golden = std::fs::read_to_string(file).expect("the golden file");
    assert_eq!(found, golden, "UPDATE_GOLDEN=1 writes the new map to {file}");
}

#[test]
fn nodes_do_not_overlap_and_forward_edges_lead_to_the_right() {
    let graph = Graph::of(&catalog(), "shop");
    let Placed { width, height, boxes, .. } = Placed::of(&graph);
    for (index, a) in boxes.iter().enumerate() {
        assert!(a.x >= 0 && a.y >= 0 && a.x + a.width <= width && a.y + a.height <= height, "{a:?}");
        for b in &boxes[..index] {
            let apart = a.x + a.width <= b.x
                || b.x + b.width <= a.x
                || a.y + a.height <= b.y
                || b.y + b.height <= a.y;
            assert!(apart, "{a:?} and {b:?}");
        }
    }
    for edge in &graph.edges {
        let (from, to) = (boxes[edge.from], boxes[edge.to]);
        assert_eq!(from.x + from.width > to.x, edge.is_back);
    }
    let back: Vec<_> = graph.edges.iter().filter(|edge| edge.is_back).collect();
    assert_eq!(back.len(), 2, "order.shipped and order.expired lead back to api");
}

#[test]
fn an_isolated_service_keeps_its_neighbours() {
    let map = drawn(Some("payment"));
    let away = |part: &str| {
        let part = part.replace('>', "&gt;");
        let at = map.find(&format!("data-part=\"{part}\"")).expect("the part");
        let tag = &map[map[..at].rfind('<').expect("a tag")..at];
        tag.contains("away")
    };
    for (part, expected) in [
        ("node payment", false),
        ("node order.placed", false),
        ("node order.paid", false),
        ("node shipping", true),
        ("edge order.placed>payment", false),
        ("edge order.placed>shipping", true),
    ] {
        assert_eq!(away(part), expected, "{part}");
    }
}
