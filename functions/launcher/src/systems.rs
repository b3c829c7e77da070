//! The list of all systems.

use std::sync::Arc;

use catalog::Catalog;
use effects::{
    mail::Mailer,
    payments::{Gateway, LocalFaults, Money},
};
use pushbox::{Clock, Ports, System, store::Memory};

use crate::environment;

/// All systems, as the environment configures them.
pub(crate) fn configured(ports: &Ports, faults: &LocalFaults) -> Result<Vec<System>, String> {
    let signup = signup::Config {
        mailer: environment::mailer(ports)?,
        gateway: environment::gateway(ports, faults)?,
        price: environment::signup_price()?,
        payment_method: environment::signup_payment_method()?,
    };
    Ok(all(signup))
}

/// The catalog of all systems.
pub(crate) fn catalog() -> Result<Catalog, String> {
    declared().map(|systems| Catalog::of(&systems))
}

/// All systems, to read their declarations. They do not depend on the environment.
pub(crate) fn declared() -> Result<Vec<System>, String> {
    // The systems require these adapters, but nothing calls them.
    let (store, clock) = (Arc::new(Memory::default()), Clock::system());
    let signup = signup::Config {
        mailer: Mailer::local(store.clone(), clock.clone()),
        gateway: Gateway::local(store, clock),
        price: Money { minor: 0, currency: "usd".parse().map_err(|error| format!("usd: {error}"))? },
        payment_method: String::new(),
    };
    Ok(all(signup))
}

/// The shop shares the mailer and the payment gateway of signup.
fn all(signup: signup::Config) -> Vec<System> {
    let shop = shop::Config {
        mailer: signup.mailer.clone(),
        gateway: signup.gateway.clone(),
        stock_shards: shop::STOCK_SHARDS,
    };
    vec![signup::system(signup), shop::system(shop)]
}
