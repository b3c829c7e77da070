//! The map: services and events of one system as a layered graph.
//!
//! `graph` derives the graph from the catalog, `place` computes the positions, and `svg` draws. Positions depend on
//! the catalog alone, so the picture is the same each time.

mod graph;
mod place;
mod svg;

pub(super) use graph::Graph;
pub(super) use place::Placed;
pub(super) use svg::draw;
pub(crate) use svg::{Backlog, Look};

#[cfg(test)]
mod tests;
