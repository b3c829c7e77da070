//! The positions of nodes and edges, in pixels.
//!
//! This is the method of Sugiyama: an edge that crosses layers gets a bend in each of them, each layer is ordered by the
//! mean position of the neighbours, and then every node moves towards its neighbours as far as its layer has room.

use std::collections::BTreeMap;

use super::graph::{Graph, Kind};

const NODE_HEIGHT: i32 = 46;
const BEND_HEIGHT: i32 = 12;
const GAP_BETWEEN_NODES: i32 = 18;
const GAP_BETWEEN_LAYERS: i32 = 40;
const MARGIN: i32 = 16;
/// Between two edges that lead back below the graph.
const LANE: i32 = 16;
const SWEEPS: usize = 8;

/// A graph with positions.
pub(crate) struct Placed {
    pub(crate) width: i32,
    pub(crate) height: i32,
    /// In the order of the graph's nodes.
    pub(crate) boxes: Vec<Rect>,
    /// In the order of the graph's edges.
    pub(crate) routes: Vec<Route>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
}

/// The way of an edge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Route {
    /// From left to right, through these points.
    Forward(Vec<(i32, i32)>),
    /// Down from the first point to a lane at this height, to the left, and up to the second point.
    Back { from: (i32, i32), to: (i32, i32), lane: i32 },
}

/// A node or a bend, in a layer.
struct Cell {
    /// None for a bend.
    node: Option<usize>,
    height: i32,
    /// The middle.
    y: i32,
    before: Vec<(usize, usize)>,
    after: Vec<(usize, usize)>,
}

impl Placed {
    pub(crate) fn of(graph: &Graph) -> Self {
        let mut layers = Layers::of(graph);
        layers.order();
        layers.balance();
        layers.place(graph)
    }
}

struct Layers {
    layers: Vec<Vec<Cell>>,
    /// The bends of each forward edge: the layer and the number of the cell, from left to right.
    chains: BTreeMap<usize, Vec<(usize, usize)>>,
}

impl Layers {
    fn of(graph: &Graph) -> Self {
        let count = graph.nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0);
        let mut layers: Vec<Vec<Cell>> = (0..count).map(|_| Vec::new()).collect();
        let mut place = vec![(0, 0); graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            place[index] = (node.layer, layers[node.layer].len());
            layers[node.layer].push(Cell::new(Some(index), NODE_HEIGHT));
        }
        let mut chains = BTreeMap::new();
        for (index, edge) in graph.edges.iter().enumerate().filter(|(_, edge)| !edge.is_back) {
            let (from, to) = (place[edge.from], place[edge.to]);
            let mut chain = vec![from];
            for (number, layer) in layers.iter_mut().enumerate().take(to.0).skip(from.0 + 1) {
                chain.push((number, layer.len()));
                layer.push(Cell::new(None, BEND_HEIGHT));
            }
            chain.push(to);
            for pair in chain.windows(2) {
                layers[pair[0].0][pair[0].1].after.push(pair[1]);
                layers[pair[1].0][pair[1].1].before.push(pair[0]);
            }
            chains.insert(index, chain);
        }
        let mut layers = Self { layers, chains };
        (0..layers.layers.len()).for_each(|layer| layers.stack(layer, &|cell| cell.y));
        layers
    }

    /// Orders each layer by the mean position of its neighbours, from left to right and back.
    fn order(&mut self) {
        for sweep in 0..SWEEPS {
            let is_forward = sweep % 2 == 0;
            let count = self.layers.len();
            for step in 0..count {
                let layer = if is_forward { step } else { count - 1 - step };
                let wanted = self.means(layer, is_forward, !is_forward);
                let mut order: Vec<usize> = (0..wanted.len()).collect();
                // The sort is stable, so that equal cells keep their order.
                order.sort_by_key(|&cell| (wanted[cell], self.layers[layer][cell].y));
                let mut rank = vec![0; order.len()];
                order.iter().enumerate().for_each(|(place, &cell)| rank[cell] = place as i32);
                for (cell, rank) in self.layers[layer].iter_mut().zip(rank) {
                    cell.y = rank;
                }
                self.stack(layer, &|cell| cell.y);
            }
        }
    }

    /// Moves every cell towards its neighbours, and keeps the order of its layer.
    fn balance(&mut self) {
        for sweep in 0..SWEEPS {
            let count = self.layers.len();
            for step in 0..count {
                let layer = if sweep % 2 == 0 { step } else { count - 1 - step };
                let wanted = self.means(layer, true, true);
                self.settle(layer, &wanted);
            }
        }
    }

    /// The mean position of the neighbours of each cell; its own position if it has none.
    fn means(&self, layer: usize, before: bool, after: bool) -> Vec<i32> {
        let mean = |cell: &Cell| {
            let before = cell.before.iter().filter(|_| before);
            let neighbours: Vec<i32> = before
                .chain(cell.after.iter().filter(|_| after))
                .map(|&(layer, cell)| self.layers[layer][cell].y)
                .collect();
            let count = i32::try_from(neighbours.len()).unwrap_or(1);
            if count == 0 { cell.y } else { neighbours.iter().sum::<i32>() / count }
        };
        self.layers[layer].iter().map(mean).collect()
    }

    /// Gives each cell of a layer a position, without gaps and in this order.
    fn stack(&mut self, layer: usize, key: &dyn Fn(&Cell) -> i32) {
        let cells = &mut self.layers[layer];
        let mut order: Vec<usize> = (0..cells.len()).collect();
        order.sort_by_key(|&cell| key(&cells[cell]));
        let mut top = 0;
        for cell in order {
            cells[cell].y = top + cells[cell].height / 2;
            top += cells[cell].height + GAP_BETWEEN_NODES;
        }
    }

    /// Moves the cells of a layer to the wanted positions as far as they do not overlap: first down from the top, then
    /// up from the bottom, and the middle of both.
    fn settle(&mut self, layer: usize, wanted: &[i32]) {
        let cells = &mut self.layers[layer];
        let mut order: Vec<usize> = (0..cells.len()).collect();
        order.sort_by_key(|&cell| cells[cell].y);
        let room = |above: &Cell, below: &Cell| (above.height + below.height) / 2 + GAP_BETWEEN_NODES;
        let mut down: Vec<i32> = order.iter().map(|&cell| wanted[cell]).collect();
        let mut up = down.clone();
        for place in 1..order.len() {
            let least = down[place - 1] + room(&cells[order[place - 1]], &cells[order[place]]);
            down[place] = down[place].max(least);
        }
        for place in (1..order.len()).rev() {
            let most = up[place] - room(&cells[order[place - 1]], &cells[order[place]]);
            up[place - 1] = up[place - 1].min(most);
        }
        for (place, &cell) in order.iter().enumerate() {
            cells[cell].y = i32::midpoint(down[place], up[place]);
        }
        // The middle of two valid positions is valid but for the rounding.
        for place in 1..order.len() {
            let least = cells[order[place - 1]].y + room(&cells[order[place - 1]], &cells[order[place]]);
            cells[order[place]].y = cells[order[place]].y.max(least);
        }
    }

    fn place(&self, graph: &Graph) -> Placed {
        let top = self.layers.iter().flatten().map(|cell| cell.y - cell.height / 2).min().unwrap_or(0);
        let mut boxes = vec![Rect { x: 0, y: 0, width: 0, height: 0 }; graph.nodes.len()];
        let mut x = MARGIN;
        let mut columns = Vec::new();
        for layer in &self.layers {
            let nodes = layer.iter().filter_map(|cell| Some((cell, cell.node?)));
            let width = nodes.clone().map(|(_, node)| width(graph, node)).max().unwrap_or(0);
            for (cell, node) in nodes {
                let y = cell.y - cell.height / 2 - top + MARGIN;
                boxes[node] = Rect { x, y, width, height: cell.height };
            }
            columns.push((x, x + width));
            x += width + GAP_BETWEEN_LAYERS;
        }
        let bottom = self.layers.iter().flatten().map(|cell| cell.y + cell.height / 2).max().unwrap_or(0)
            - top
            + MARGIN;
        let (routes, lanes) = self.routes(graph, &boxes, &columns, top, bottom);
        let height = bottom + MARGIN + if lanes > 0 { lanes * LANE + LANE } else { 0 };
        Placed { width: (x - GAP_BETWEEN_LAYERS + MARGIN).max(2 * MARGIN), height, boxes, routes }
    }

    /// The routes, and the number of lanes below the graph.
    fn routes(
        &self,
        graph: &Graph,
        boxes: &[Rect],
        columns: &[(i32, i32)],
        top: i32,
        bottom: i32,
    ) -> (Vec<Route>, i32) {
        // All edges that lead back to one service share a lane.
        let mut lanes = BTreeMap::new();
        for edge in graph.edges.iter().filter(|edge| edge.is_back) {
            let next = i32::try_from(lanes.len()).unwrap_or(0);
            lanes.entry(edge.to).or_insert(next);
        }
        let route = |(index, edge): (usize, &super::graph::Edge)| {
            let (from, to) = (boxes[edge.from], boxes[edge.to]);
            let Some(chain) = self.chains.get(&index) else {
                let lane = bottom + LANE + lanes.get(&edge.to).copied().unwrap_or(0) * LANE;
                let from = (from.x + from.width / 2, from.y + from.height);
                return Route::Back { from, to: (to.x + to.width / 2, to.y + to.height), lane };
            };
            let mut points = vec![(from.x + from.width, from.y + from.height / 2)];
            for &(layer, cell) in &chain[1..chain.len() - 1] {
                let y = self.layers[layer][cell].y - top + MARGIN;
                points.extend([(columns[layer].0, y), (columns[layer].1, y)]);
            }
            points.push((to.x, to.y + to.height / 2));
            Route::Forward(points)
        };
        (graph.edges.iter().enumerate().map(route).collect(), i32::try_from(lanes.len()).unwrap_or(0))
    }
}

impl Cell {
    fn new(node: Option<usize>, height: i32) -> Self {
        Self { node, height, y: 0, before: Vec::new(), after: Vec::new() }
    }
}

/// Wide enough for its name, without measuring fonts.
fn width(graph: &Graph, node: usize) -> i32 {
    let node = &graph.nodes[node];
    let letters = i32::try_from(node.name.chars().count()).unwrap_or(0);
    let topic = match &node.kind {
        Kind::Event { topic } => i32::try_from(topic.chars().count()).unwrap_or(0) * 6,
        Kind::Service { .. } => 0,
    };
    (letters * 15 / 2).max(topic) + 36
}
