//! The counts of this system that must agree once all events are handled.

use pushbox::{
    audit::{Balance, count, documents},
    store::{Store, StoreError, Stored},
};

/// Each user of user-service has one contact, one mail, one tracked signup and one charge. A user that somebody
/// publishes by hand is no user of user-service, so the first two counts then differ.
///
/// # Errors
/// The store fails.
pub async fn balances(store: &dyn Store) -> Result<Vec<Balance>, StoreError> {
    let is_over = |charge: &Stored| charge.fields.get("status").is_some_and(|status| status != "pending");
    let charges =
        documents(store, "billing-service", "charges").await?.iter().filter(|charge| is_over(charge)).count();
    let terms = vec![
        ("users", count(store, "user-service", "users").await?),
        ("contacts", count(store, "crm-service", "contacts").await?),
        ("mails", count(store, "email-service", "emails").await?),
        ("signups", count(store, "analytics-service", "signups").await?),
        ("charges", charges as u64),
    ];
    Ok(vec![Balance::equal("Every user has one contact, mail, tracked signup and charge.", terms)])
}
