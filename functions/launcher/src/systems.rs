//! The systems that there are.

use std::sync::Arc;

use catalog::Catalog;
use effects::{
    mail::Mailer,
    payments::{Gateway, Money},
};
use pushbox::{Clock, Ports, System, store::Memory};

use crate::environment;

/// All systems, as the environment configures them.
pub(crate) fn configured(ports: &Ports) -> Result<Vec<System>, String> {
    let signup = signup::Config {
        mailer: environment::mailer(ports)?,
        gateway: environment::gateway(ports)?,
        price: environment::signup_price()?,
        payment_method: environment::signup_payment_method()?,
    };
    Ok(all(signup))
}

/// The catalog. It is the same in every environment, and needs none.
pub(crate) fn catalog() -> Result<Catalog, String> {
    // These are never used.
    let (store, clock) = (Arc::new(Memory::default()), Clock::system());
    let signup = signup::Config {
        mailer: Mailer::local(store.clone(), clock.clone()),
        gateway: Gateway::local(store, clock),
        price: Money { minor: 0, currency: "usd".parse().map_err(|error| format!("usd: {error}"))? },
        payment_method: String::new(),
    };
    Ok(Catalog::of(&all(signup)))
}

/// The shop sends its mails and takes its money as signup does.
fn all(signup: signup::Config) -> Vec<System> {
    let shop = shop::Config {
        mailer: signup.mailer.clone(),
        gateway: signup.gateway.clone(),
        stock_shards: shop::STOCK_SHARDS,
    };
    vec![signup::system(signup), shop::system(shop)]
}
