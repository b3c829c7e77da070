//! The allotment of stock to an order. It reads the stock and changes nothing.

use events::{Money, OrderLine, OrderLines, PricedLine, RejectedLine, RejectionReason};
use futures::future::try_join_all;
use pushbox::{Context, Failure};

use super::stock::{LARGEST_AMOUNT, Part, Shards, Stock, TakenLine};

/// The stock's answer to an order.
pub(super) enum Allotment {
    /// There is stock for all lines.
    Available {
        lines: Vec<TakenLine>,
        total: Money,
        /// The shards without the allotted stock, to be staged by [`hold`](super::stock::hold).
        changed: Vec<Stock>,
    },
    /// The order gets no stock, because of these lines.
    Unavailable { lines: Vec<RejectedLine> },
}

/// Finds stock for all lines, and adds up the prices.
pub(super) async fn allot(lines: &OrderLines, shards: Shards, cx: &Context) -> Result<Allotment, Failure> {
    let found = try_join_all(lines.iter().map(|line| find(line, shards, cx))).await?;
    let (mut taken, mut changed, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for (line, stock) in lines.iter().zip(found) {
        match allot_line(line, stock) {
            Ok((line, stock)) => {
                taken.push(line);
                changed.extend(stock);
            }
            Err(line) => rejected.push(line),
        }
    }
    if !rejected.is_empty() {
        return Ok(Allotment::Unavailable { lines: rejected });
    }
    Ok(match total(&taken) {
        Ok(total) => Allotment::Available { lines: taken, total, changed },
        Err(lines) => Allotment::Unavailable { lines },
    })
}

/// Reads the order's own shard, and the others only if that one has too little. So too little stock is
/// a statement about all shards. The commit verifies that none of them has changed meanwhile.
async fn find(line: &OrderLine, Shards(shards): Shards, cx: &Context) -> Result<Vec<Stock>, Failure> {
    let own = cx.shard(shards);
    let read = |step| cx.get::<Stock>(Stock::id_of(&line.sku, (own + step) % shards));
    let mut found: Vec<Stock> = read(0).await?.into_iter().collect();
    if found.iter().all(|stock| stock.free < line.quantity.get()) {
        found.extend(try_join_all((1..shards).map(read)).await?.into_iter().flatten());
    }
    Ok(found)
}

/// Allots the stock of the first shards that have some. Returns these shards without it.
fn allot_line(line: &OrderLine, stock: Vec<Stock>) -> Result<(TakenLine, Vec<Stock>), RejectedLine> {
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

/// The price of all lines, or the lines that cannot be charged together.
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
    // At most 20 lines of 1000 pieces at the largest amount: a u64 holds far more.
    let minor = lines.iter().map(|line| line.unit_price.minor * u64::from(line.quantity.get())).sum();
    if minor > LARGEST_AMOUNT {
        return Err(lines.iter().map(|line| refuse(line, RejectionReason::TotalTooLarge)).collect());
    }
    Ok(Money { minor, currency })
}

fn rejected(line: &OrderLine, reason: RejectionReason, available: Option<u32>) -> RejectedLine {
    RejectedLine { sku: line.sku.clone(), reason, quantity: line.quantity, available }
}

/// The reasons as a sentence for the log.
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
