//! The list of all systems.

use std::sync::Arc;

use catalog::{Catalog, ServiceEntry};
use effects::{
    mail::Mailer,
    payments::{Gateway, LocalFaults, Money},
};
use pushbox::{Clock, Ports, Random, Service, System, store::Memory};
use ticketing::Auth;

use crate::environment::{self, SignIn};

/// All systems, as the environment configures them.
pub(crate) fn configured(ports: &Ports, auth: Auth, faults: &LocalFaults) -> Result<Vec<System>, String> {
    let signup = signup::Config {
        mailer: environment::mailer(ports)?,
        gateway: environment::gateway(ports, faults)?,
        price: environment::signup_price()?,
        payment_method: environment::signup_payment_method()?,
    };
    let ticketing = ticketing::Config {
        auth,
        ticket_lock_minutes: environment::ticket_lock_minutes()?,
        ticket_refund_hours: environment::ticket_refund_hours()?,
        gateway: signup.gateway.clone(),
        mailer: signup.mailer.clone(),
    };
    Ok(all(signup, ticketing))
}

/// The catalog of all systems.
pub(crate) fn catalog() -> Result<Catalog, String> {
    declared().map(|systems| Catalog::of(&systems))
}

/// A service's entry in the catalog. A process that starts needs no more: the catalog has the schemas of all events.
pub(crate) fn entry(name: &str) -> Result<ServiceEntry, String> {
    let systems = declared()?;
    for system in &systems {
        if let Some(service) = system.services.iter().find(|service| service.name() == name) {
            return Ok(ServiceEntry::of(system.name, &service.declaration()));
        }
    }
    let names: Vec<_> = systems.iter().flat_map(|system| &system.services).map(Service::name).collect();
    Err(format!("there is no service {name}; the services are {}", names.join(", ")))
}

/// All systems, to read their declarations. They do not depend on the environment.
pub(crate) fn declared() -> Result<Vec<System>, String> {
    // The systems require these adapters, but nothing calls them.
    let (store, clock) = (Arc::new(Memory::default()), Clock::system());
    let signup = signup::Config {
        mailer: Mailer::local(store.clone(), clock.clone()),
        gateway: Gateway::local(store, clock.clone()),
        price: Money { minor: 0, currency: "usd".parse().map_err(|error| format!("usd: {error}"))? },
        payment_method: String::new(),
    };
    let auth = SignIn::unused()?.into_auth(None, clock, Random::system());
    let ticketing = ticketing::Config {
        auth,
        ticket_lock_minutes: ticketing::TICKET_LOCK_MINUTES,
        ticket_refund_hours: ticketing::TICKET_REFUND_HOURS,
        gateway: signup.gateway.clone(),
        mailer: signup.mailer.clone(),
    };
    Ok(all(signup, ticketing))
}

/// All systems share one mailer and one payment gateway.
fn all(signup: signup::Config, ticketing: ticketing::Config) -> Vec<System> {
    let shop = shop::Config {
        mailer: signup.mailer.clone(),
        gateway: signup.gateway.clone(),
        stock_shards: shop::STOCK_SHARDS,
    };
    vec![signup::system(signup), shop::system(shop), ticketing::system(ticketing)]
}
