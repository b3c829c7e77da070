//! The shop system. An order takes its stock. Then it is paid and gets an invoice, or it is cancelled and its
//! stock is free again. No service knows the other services. `README.md` explains the design.

mod cancel_mail_service;
mod cancel_service;
mod guarantee;
mod invoice_mail_service;
mod invoice_service;
mod log_service;
mod order_api;
mod order_service;
mod payment_service;

use effects::{mail::Mailer, payments::Gateway};
use pushbox::System;

pub use guarantee::balances;

/// The adapters and the settings that the services of this system need.
pub struct Config {
    /// Sends the mails.
    pub mailer: Mailer,
    /// Takes the money.
    pub gateway: Gateway,
    /// The number of documents that the stock of a product is spread over: [`STOCK_SHARDS`] or more.
    /// Never lower it: the stock in the remaining documents would not be found.
    pub stock_shards: u64,
}

/// Enough for 16 orders of one product per second on Firestore, and for 100 on the emulator: see `README.md`.
pub const STOCK_SHARDS: u64 = 16;

/// The products that the local stack sells from the start: the path and the body of a `PUT`.
pub const SEED: [(&str, &str); 3] = [
    (
        "/order-service/products/tea-250g",
        r#"{"name":"Green tea, 250 g","price":{"minor":1250,"currency":"eur"},"stock":100}"#,
    ),
    (
        "/order-service/products/teapot",
        r#"{"name":"Teapot, cast iron","price":{"minor":4900,"currency":"eur"},"stock":5}"#,
    ),
    (
        "/order-service/products/cup",
        r#"{"name":"Cup, porcelain","price":{"minor":900,"currency":"eur"},"stock":40}"#,
    ),
];

/// Requests to try first: the path and the body.
pub const TRY_ORDER: (&str, &str) = (
    "/order-api/orders",
    r#"{"customerEmail":"ada@example.com","lines":[{"sku":"teapot","quantity":1}],"paymentMethod":"pm_card_visa"}"#,
);

/// An order whose card is declined.
pub const TRY_DECLINED_ORDER: (&str, &str) = (
    "/order-api/orders",
    r#"{"customerEmail":"ada@example.com","lines":[{"sku":"teapot","quantity":1}],"paymentMethod":"pm_card_visa_chargeDeclined"}"#,
);

/// All services of the system.
#[must_use]
pub fn system(config: Config) -> System {
    let Config { mailer, gateway, stock_shards } = config;
    System {
        name: "shop",
        services: vec![
            order_api::service(),
            order_service::service(stock_shards),
            payment_service::service(gateway),
            cancel_service::service(),
            cancel_mail_service::service(mailer.clone()),
            invoice_service::service(),
            invoice_mail_service::service(mailer),
            log_service::service(),
        ],
    }
}
