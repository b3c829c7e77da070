//! The graph of a system, in layers.

use std::collections::{BTreeMap, BTreeSet};

use catalog::Catalog;

/// The nodes and edges of a system.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
}

pub(crate) struct Node {
    /// The name of a service, or the type of an event.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Counted from the left.
    pub(crate) layer: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Service {
        is_public: bool,
    },
    /// With its topic.
    Event {
        topic: String,
    },
}

/// An edge from a service to an event that it publishes, or from an event to a service that handles it.
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// It leads to an earlier layer, because the services form a cycle.
    pub(crate) is_back: bool,
    /// The event may be published at a later time.
    pub(crate) is_delayed: bool,
}

impl Graph {
    /// The graph of a system of the catalog.
    pub(crate) fn of(catalog: &Catalog, system: &str) -> Self {
        let members = catalog.services.iter().filter(|service| service.system == system);
        let mut nodes: Vec<Node> = members
            .map(|service| Node {
                name: service.name.clone(),
                kind: Kind::Service { is_public: service.public },
                layer: 0,
            })
            .collect();
        let services: BTreeMap<String, usize> =
            nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        let mut edges = Vec::new();
        for event in &catalog.events {
            let members = |names: &[String]| -> Vec<usize> {
                names.iter().filter_map(|name| services.get(name).copied()).collect()
            };
            let (publishers, handlers) = (members(&event.published_by), members(&event.handled_by));
            if publishers.is_empty() && handlers.is_empty() {
                continue;
            }
            let node = nodes.len();
            let kind = Kind::Event { topic: event.topic.clone() };
            nodes.push(Node { name: event.r#type.clone(), kind, layer: 0 });
            let edge = |from, to, is_delayed| Edge { from, to, is_back: false, is_delayed };
            edges.extend(publishers.into_iter().map(|service| edge(service, node, event.delayed)));
            edges.extend(handlers.into_iter().map(|service| edge(node, service, false)));
        }
        let mut graph = Self { nodes, edges };
        graph.mark_back_edges();
        graph.assign_layers();
        graph
    }

    /// Marks the edges that close a cycle, seen from the first services.
    fn mark_back_edges(&mut self) {
        let (mut finished, mut path) = (BTreeSet::new(), Vec::new());
        for start in 0..self.nodes.len() {
            self.visit(start, &mut finished, &mut path);
        }
    }

    /// The path is as long as the longest chain of services and events, so the recursion is not deep.
    fn visit(&mut self, node: usize, finished: &mut BTreeSet<usize>, path: &mut Vec<usize>) {
        if finished.contains(&node) {
            return;
        }
        path.push(node);
        for index in 0..self.edges.len() {
            if self.edges[index].from != node {
                continue;
            }
            let to = self.edges[index].to;
            if path.contains(&to) {
                self.edges[index].is_back = true;
            } else {
                self.visit(to, finished, path);
            }
        }
        path.pop();
        finished.insert(node);
    }

    /// The layer of a node is the length of the longest path to it.
    fn assign_layers(&mut self) {
        // Each round settles at least one more layer.
        for _ in 0..self.nodes.len() {
            for Edge { from, to, .. } in self.edges.iter().filter(|edge| !edge.is_back) {
                self.nodes[*to].layer = self.nodes[*to].layer.max(self.nodes[*from].layer + 1);
            }
        }
    }
}
