//! The stock of a product. It is spread over several documents, its shards, because the orders for a
//! product compete for its documents.

use effects::shards::Shard;
use events::{Money, PricedLine, ProductName, Sku};
use pushbox::{Context, Document};
use serde::{Deserialize, Serialize};

/// The largest amount that Stripe charges at once:
/// <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>.
pub(super) const LARGEST_AMOUNT: u64 = 99_999_999;

/// The number of documents that the stock of each product is spread over.
#[derive(Clone, Copy)]
pub(super) struct Shards(pub(super) u64);

/// A shard of a product's stock. Each shard holds the product's name and price, because all orders for
/// the product would share a document of their own for these.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stock {
    pub(super) sku: Sku,
    pub(super) shard: u64,
    pub(super) name: ProductName,
    pub(super) price: Money,
    /// Can be ordered.
    pub(super) free: u32,
    /// Held for orders, or sold.
    pub(super) taken: u32,
}

/// A shard of the counter of sold pieces. It is separate from the stock, so that a payment does not
/// disturb the next order. A sale adds to it without reading it, so two sales never conflict here.
#[derive(Serialize, Deserialize)]
pub(super) struct Sold {
    pub(super) sku: Sku,
    pub(super) shard: u64,
    pub(super) sold: i64,
}

/// An addition to a [`Stock`] that does not read it.
#[derive(Serialize, Deserialize)]
struct Returned {
    sku: Sku,
    shard: u64,
    free: i64,
    taken: i64,
}

/// A line of an order, and the shards that its stock was taken from.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TakenLine {
    #[serde(flatten)]
    pub(super) line: PricedLine,
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) shard: u64,
    pub(super) quantity: u32,
}

/// Holds the stock that was taken from these shards.
pub(super) fn hold(changed: &[Stock], cx: &Context) {
    changed.iter().for_each(|stock| cx.put(stock));
}

/// Marks the held stock as sold.
pub(super) fn sell(lines: &[TakenLine], cx: &Context) {
    for (sku, part) in parts(lines) {
        cx.add(&Sold { sku: sku.clone(), shard: part.shard, sold: part.quantity.into() }, &["sold"]);
    }
}

/// Makes the held stock free again.
pub(super) fn release(lines: &[TakenLine], cx: &Context) {
    for (sku, part) in parts(lines) {
        let free = i64::from(part.quantity);
        cx.add(&Returned { sku: sku.clone(), shard: part.shard, free, taken: -free }, &["free", "taken"]);
    }
}

fn parts(lines: &[TakenLine]) -> impl Iterator<Item = (&Sku, &Part)> {
    lines.iter().flat_map(|taken| taken.parts.iter().map(|part| (&taken.line.sku, part)))
}

impl Stock {
    /// No sku contains a `+`, and `+` sorts before all characters of a sku. So the shards of a product
    /// stand together, in the order of the skus.
    pub(super) fn id_of(sku: &Sku, shard: u64) -> String {
        format!("{sku}+{shard:03}")
    }
}

impl Shard for Stock {
    type Key = Sku;

    fn key(&self) -> Sku {
        self.sku.clone()
    }

    fn cursor(sku: &Sku) -> String {
        Self::id_of(sku, 999)
    }
}

impl Document for Stock {
    const COLLECTION: &'static str = "stock";
    fn id(&self) -> String {
        Self::id_of(&self.sku, self.shard)
    }
}

impl Document for Returned {
    const COLLECTION: &'static str = Stock::COLLECTION;
    fn id(&self) -> String {
        Stock::id_of(&self.sku, self.shard)
    }
}

impl Document for Sold {
    const COLLECTION: &'static str = "sold";
    fn id(&self) -> String {
        Stock::id_of(&self.sku, self.shard)
    }
}
