//! The products and their stock.

use std::collections::BTreeMap;

use axum::{Json, extract::Path};
use effects::shards;
use events::{Currency, Money, ProductName, Sku};
use futures::future::try_join_all;
use pushbox::{Command, Context, Documents, FieldErrors, Page, PageQuery, Problem, Reply};
use serde::{Deserialize, Serialize};

use super::stock::{LARGEST_AMOUNT, Shards, Sold, Stock};

/// The largest stock of a product.
const LARGEST_STOCK: u32 = 1_000_000;

#[derive(Deserialize)]
pub(super) struct NewProduct {
    #[serde(default)]
    name: String,
    #[serde(default)]
    price: NewPrice,
    stock: i64,
}

#[derive(Default, Deserialize)]
struct NewPrice {
    #[serde(default)]
    minor: i64,
    #[serde(default)]
    currency: String,
}

#[derive(Clone, Serialize)]
struct Product {
    sku: Sku,
    name: ProductName,
    price: Money,
    /// The number of pieces that can be ordered from now on. Held and sold pieces do not change.
    stock: u32,
}

pub(super) async fn put(
    Path(sku): Path<Sku>,
    command: Command<NewProduct>,
    shards: Shards,
) -> Result<Reply, Problem> {
    let NewProduct { name, price, stock } = &command.body;
    let mut errors = FieldErrors::default();
    let name: Option<ProductName> = errors.parse("/name", name);
    let currency: Option<Currency> = errors.parse("/price/currency", &price.currency);
    let minor = u64::try_from(price.minor).ok().filter(|minor| (1..=LARGEST_AMOUNT).contains(minor));
    if minor.is_none() {
        errors.note("/price/minor", format_args!("a price goes from 1 to {LARGEST_AMOUNT}"));
    }
    let stock = u32::try_from(*stock).ok().filter(|stock| *stock <= LARGEST_STOCK);
    if stock.is_none() {
        errors.note("/stock", format_args!("a stock goes from 0 to {LARGEST_STOCK}"));
    }
    let (Some(name), Some(currency), Some(minor), Some(stock)) = (name, currency, minor, stock) else {
        return Err(errors.into());
    };
    let product = Product { sku, name, price: Money { minor, currency }, stock };
    command.run(product, move |product, cx| spread(product, shards, cx)).await
}

/// Spreads the stock evenly over the shards.
async fn spread(product: Product, Shards(shards): Shards, cx: Context) -> Result<Reply, Problem> {
    let read = |shard| cx.get::<Stock>(Stock::id_of(&product.sku, shard));
    let found = try_join_all((0..shards).map(read)).await?;
    let (each, rest) = (u64::from(product.stock) / shards, u64::from(product.stock) % shards);
    for (shard, found) in (0..shards).zip(found) {
        let free = each + u64::from(shard < rest);
        cx.put(&Stock {
            sku: product.sku.clone(),
            shard,
            name: product.name.clone(),
            price: product.price.clone(),
            // It is not more than the whole stock, which is a u32.
            free: u32::try_from(free).unwrap_or(u32::MAX),
            taken: found.map_or(0, |found| found.taken),
        });
    }
    Ok(Reply::ok(&product))
}

#[derive(Serialize)]
pub(super) struct ProductView {
    sku: Sku,
    name: ProductName,
    price: Money,
    stock: Levels,
}

#[derive(Serialize)]
struct Levels {
    /// Can be ordered.
    free: i64,
    /// Waits for a payment.
    held: i64,
    sold: i64,
}

pub(super) async fn list(
    documents: Documents,
    page: PageQuery,
    Shards(shards): Shards,
) -> Result<Json<Page<ProductView>>, Problem> {
    let after = page.after()?.unwrap_or_default();
    let mut products = shards::page(&documents, &after, page.limit(), shards, add).await?;
    let largest_page = page.limit() * usize::try_from(shards).unwrap_or(usize::MAX);
    let mut sold = BTreeMap::<Sku, i64>::new();
    for shard in documents.after::<Sold>(&after, largest_page).await? {
        *sold.entry(shard.sku).or_default() += shard.sold;
    }
    for ProductView { sku, stock, .. } in &mut products.items {
        stock.sold = sold.get(sku).copied().unwrap_or_default();
        stock.held -= stock.sold;
    }
    Ok(Json(products))
}

/// Adds a shard to its product. The sold pieces are still among the held ones.
fn add(product: Option<ProductView>, shard: Stock) -> ProductView {
    let Stock { sku, name, price, free, taken, .. } = shard;
    let stock = Levels { free: 0, held: 0, sold: 0 };
    let mut product = product.unwrap_or(ProductView { sku, name, price, stock });
    product.stock.free += i64::from(free);
    product.stock.held += i64::from(taken);
    product
}
