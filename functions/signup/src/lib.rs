//! The signup system. A user signs up; then a mail, a tracked signup, a contact and a charge follow.
//! No service knows the other services.

mod analytics_service;
mod billing_service;
mod crm_service;
mod email_service;
mod guarantee;
mod user_service;

use effects::{
    mail::Mailer,
    payments::{Gateway, Money},
};
use pushbox::System;

pub use guarantee::balances;

/// The adapters and the settings that the services of this system need.
pub struct Config {
    /// Sends the welcome mails.
    pub mailer: Mailer,
    /// Takes the money.
    pub gateway: Gateway,
    /// The price of a signup.
    pub price: Money,
    /// The payment method that is charged, such as Stripe's `pm_card_visa`: a signup asks for no card.
    pub payment_method: String,
}

/// A request to try first: the path and the body, in which `{number}` differs each time.
pub const TRY_SIGN_UP: (&str, &str) =
    ("/user-service/users", r#"{"email":"ada{number}@example.com","name":"Ada Lovelace"}"#);

/// All services of the system.
#[must_use]
pub fn system(config: Config) -> System {
    let Config { mailer, gateway, price, payment_method } = config;
    System {
        name: "signup",
        services: vec![
            user_service::service(),
            email_service::service(mailer),
            analytics_service::service(),
            crm_service::service(),
            billing_service::service(gateway, price, payment_method),
        ],
    }
}
