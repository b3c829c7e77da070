//! The ticketing system. People sign up and sign in; then they sell and buy tickets. No service knows the
//! other services.

mod auth_service;
mod caller;
mod expiration_service;
mod guarantee;
mod keys;
mod price;
mod ticket_order_service;
mod ticket_payment_service;
mod ticket_service;
mod timing;

use effects::{mail::Mailer, payments::Gateway};
use jiff::SignedDuration;
use pushbox::System;

pub use auth_service::{Auth, Hashing};
pub use guarantee::balances;
pub use keys::SigningKey;

/// The system's name. It is also the audience of the access tokens.
pub const NAME: &str = "ticketing";

/// The settings that the services of this system need.
pub struct Config {
    /// The settings of auth-service.
    pub auth: Auth,
    /// The time to pay an order: [`TICKET_LOCK_MINUTES`].
    pub ticket_lock_minutes: u32,
    /// A paid order can be cancelled for this long, with a refund: [`TICKET_REFUND_HOURS`].
    pub ticket_refund_hours: u32,
    /// Takes the money, and gives it back.
    pub gateway: Gateway,
    /// Sends the mails.
    pub mailer: Mailer,
}

/// The time to pay an order, unless the configuration says otherwise.
pub const TICKET_LOCK_MINUTES: u32 = 15;

/// The time in which a paid order can be cancelled, unless the configuration says otherwise.
pub const TICKET_REFUND_HOURS: u32 = 24;

/// Requests to try first: the path and the body of a seller's sign-up, and of an offer. `{number}` and `{run}` differ
/// each time.
pub const TRY_ACCOUNT: (&str, &str) = (
    "/auth-service/signup",
    r#"{"email":"seller{number}-{run}@example.com","password":"correct horse battery"}"#,
);

/// See [`TRY_ACCOUNT`].
pub const TRY_OFFER: (&str, &str) =
    ("/ticket-service/tickets", r#"{"title":"Ghost, row {number}","price":{"minor":4500,"currency":"eur"}}"#);

/// All services of the system.
#[must_use]
pub fn system(config: Config) -> System {
    let Config { auth, ticket_lock_minutes, ticket_refund_hours, gateway, mailer } = config;
    let lock = SignedDuration::from_mins(ticket_lock_minutes.into());
    System {
        name: NAME,
        services: vec![
            auth_service::service(auth),
            ticket_service::service(lock),
            ticket_order_service::service(lock, SignedDuration::from_hours(ticket_refund_hours.into())),
            expiration_service::service(),
            ticket_payment_service::service(gateway, mailer),
        ],
    }
}
