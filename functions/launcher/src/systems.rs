//! The systems that there are.

use pushbox::{Catalog, Ports, System, publisher::PubSub, store::Memory};

use crate::environment;

/// All systems, as the environment configures them.
pub(crate) fn configured(ports: &Ports) -> Result<Vec<System>, String> {
    let mailer = environment::mailer(ports)?;
    let gateway = environment::gateway(ports)?;
    let signup = signup::Config {
        mailer: mailer.clone(),
        gateway: gateway.clone(),
        price: environment::signup_price()?,
        payment_method: environment::signup_payment_method(),
    };
    let shop = shop::Config { mailer, gateway, stock_shards: shop::STOCK_SHARDS };
    Ok(vec![signup::system(signup), shop::system(shop)])
}

/// The catalog. It is the same in every environment.
pub(crate) fn catalog() -> Result<Catalog, String> {
    // Nothing is ever sent through these.
    let ports = Ports::new(Memory::default(), PubSub::new("none", "", None));
    Ok(Catalog::of(&configured(&ports)?))
}
