//! Stock: a product's is spread over several documents, since orders for it compete for them.

use events::{Money, OrderLine, OrderLines, PricedLine, ProductName, RejectedLine, RejectionReason, Sku};
use futures::future::try_join_all;
use pushbox::{Context, Document, Failure};
use serde::{Deserialize, Serialize};

/// What Stripe charges at most at once: <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>.
pub(super) const LARGEST_AMOUNT: u64 = 99_999_999;

/// Over how many documents the stock of each product is spread.
#[derive(Clone, Copy)]
pub(super) struct Shards(pub(super) u64);

/// A part of a product's stock. It has the product's name and price too: a document that held them
/// would be one that all orders share.
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

/// A part of what was sold. It is apart from the stock, so that a payment does not disturb the next
/// order; and nobody reads it to write it, so it cannot lose a race.
#[derive(Serialize, Deserialize)]
pub(super) struct Sold {
    pub(super) sku: Sku,
    pub(super) shard: u64,
    pub(super) sold: i64,
}

/// What is added to a [`Stock`] without reading it.
#[derive(Serialize, Deserialize)]
struct Returned {
    sku: Sku,
    shard: u64,
    free: i64,
    taken: i64,
}

/// A line of an order, and from where its stock was taken.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TakenLine {
    #[serde(flatten)]
    pub(super) line: PricedLine,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    shard: u64,
    quantity: u32,
}

/// Takes the stock of all lines and says what they cost; or of none, and says why.
pub(super) async fn take(
    lines: &OrderLines,
    shards: Shards,
    cx: &Context,
) -> Result<Result<(Vec<TakenLine>, Money), Vec<RejectedLine>>, Failure> {
    let found = try_join_all(lines.iter().map(|line| find(line, shards, cx))).await?;
    let (mut taken, mut changed, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for (line, stock) in lines.iter().zip(found) {
        match allot(line, stock) {
            Ok((line, stock)) => {
                taken.push(line);
                changed.extend(stock);
            }
            Err(line) => rejected.push(line),
        }
    }
    if !rejected.is_empty() {
        return Ok(Err(rejected));
    }
    Ok(total(&taken).map(|total| {
        changed.iter().for_each(|stock| cx.put(stock));
        (taken, total)
    }))
}

/// Reads the shard that this order begins with, and the others only if that one is short. That there
/// is too little is said only of all of them; the commit verifies that none has changed meanwhile.
async fn find(line: &OrderLine, Shards(shards): Shards, cx: &Context) -> Result<Vec<Stock>, Failure> {
    let home = cx.shard(shards);
    let read = |step| cx.get::<Stock>(Stock::id_of(&line.sku, (home + step) % shards));
    let mut found: Vec<Stock> = read(0).await?.into_iter().collect();
    if found.iter().all(|stock| stock.free < line.quantity.get()) {
        found.extend(try_join_all((1..shards).map(read)).await?.into_iter().flatten());
    }
    Ok(found)
}

/// Takes a line's stock from the first shards that have some. Returns these as they are then.
fn allot(line: &OrderLine, stock: Vec<Stock>) -> Result<(TakenLine, Vec<Stock>), RejectedLine> {
    let Some(Stock { name, price, .. }) = stock.first().cloned() else {
        return Err(rejected(line, RejectionReason::UnknownSku, None));
    };
    let mut missing = line.quantity.get();
    let (mut parts, mut changed) = (Vec::new(), Vec::new());
    for mut stock in stock {
        let quantity = missing.min(stock.free);
        if quantity > 0 {
            stock.free -= quantity;
            stock.taken += quantity;
            missing -= quantity;
            parts.push(Part { shard: stock.shard, quantity });
            changed.push(stock);
        }
    }
    if missing > 0 {
        return Err(rejected(line, RejectionReason::ShortOfStock, Some(line.quantity.get() - missing)));
    }
    let line = PricedLine { sku: line.sku.clone(), name, quantity: line.quantity, unit_price: price };
    Ok((TakenLine { line, parts }, changed))
}

/// What the lines cost together.
fn total(lines: &[TakenLine]) -> Result<Money, Vec<RejectedLine>> {
    let lines: Vec<&PricedLine> = lines.iter().map(|taken| &taken.line).collect();
    let refuse = |line: &&PricedLine, reason| {
        let PricedLine { sku, quantity, .. } = *line;
        rejected(&OrderLine { sku: sku.clone(), quantity: *quantity }, reason, None)
    };
    let Some(currency) = lines.first().map(|line| line.unit_price.currency.clone()) else {
        return Err(Vec::new());
    };
    let others: Vec<_> = lines
        .iter()
        .filter(|line| line.unit_price.currency != currency)
        .map(|line| refuse(line, RejectionReason::OtherCurrency))
        .collect();
    if !others.is_empty() {
        return Err(others);
    }
    // At most 20 lines of 1000 pieces at the largest amount: far from what a u64 holds.
    let minor = lines.iter().map(|line| line.unit_price.minor * u64::from(line.quantity.get())).sum();
    if minor > LARGEST_AMOUNT {
        return Err(lines.iter().map(|line| refuse(line, RejectionReason::TotalTooLarge)).collect());
    }
    Ok(Money { minor, currency })
}

fn rejected(line: &OrderLine, reason: RejectionReason, available: Option<u32>) -> RejectedLine {
    RejectedLine { sku: line.sku.clone(), reason, quantity: line.quantity, available }
}

/// What was held is sold.
pub(super) fn sell(lines: &[TakenLine], cx: &Context) {
    for (sku, part) in parts(lines) {
        cx.add(&Sold { sku: sku.clone(), shard: part.shard, sold: part.quantity.into() }, &["sold"]);
    }
}

/// What was held is free again.
pub(super) fn release(lines: &[TakenLine], cx: &Context) {
    for (sku, part) in parts(lines) {
        let free = i64::from(part.quantity);
        cx.add(&Returned { sku: sku.clone(), shard: part.shard, free, taken: -free }, &["free", "taken"]);
    }
}

fn parts(lines: &[TakenLine]) -> impl Iterator<Item = (&Sku, &Part)> {
    lines.iter().flat_map(|taken| taken.parts.iter().map(|part| (&taken.line.sku, part)))
}

/// For people.
pub(super) fn describe(lines: &[RejectedLine]) -> String {
    let describe = |line: &RejectedLine| {
        let reason = match line.reason {
            RejectionReason::UnknownSku => "is unknown",
            RejectionReason::ShortOfStock => "is short of stock",
            RejectionReason::OtherCurrency => "is sold in another currency",
            RejectionReason::TotalTooLarge => "makes it cost too much",
        };
        format!("{} {reason}", line.sku)
    };
    lines.iter().map(describe).collect::<Vec<_>>().join(", ")
}

impl Stock {
    /// No sku has a `+`, and `+` sorts before all that a sku has, so a product's documents stand
    /// together and in the order of the skus.
    pub(super) fn id_of(sku: &Sku, shard: u64) -> String {
        format!("{sku}+{shard:03}")
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
