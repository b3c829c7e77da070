//! The filter of a subscription.

use std::collections::BTreeSet;

use pushbox::wire::{attribute, limit};

/// A filter that passes these types, and messages without a type. If it is too long for Pub/Sub, a shorter
/// one passes all types with the same first words. The service acknowledges the types that it does not
/// handle.
pub(crate) fn filter(types: &[String]) -> String {
    let untyped = format!("NOT attributes:\"{}\"", attribute::TYPE);
    let exact = types.iter().map(|name| format!("attributes.\"{}\" = \"{name}\"", attribute::TYPE));
    let filter = any(&untyped, exact);
    if filter.len() <= limit::FILTER_BYTES {
        return filter;
    }
    let stems: BTreeSet<&str> = types.iter().map(|name| name.split('.').next().unwrap_or(name)).collect();
    let prefixes = stems.into_iter();
    any(&untyped, prefixes.map(|stem| format!("hasPrefix(attributes.\"{}\", \"{stem}.\")", attribute::TYPE)))
}

fn any(first: &str, others: impl Iterator<Item = String>) -> String {
    others.fold(first.to_owned(), |filter, other| filter + " OR " + &other)
}

#[cfg(test)]
mod tests {
    #[test]
    fn shortens_a_filter_that_is_too_long() {
        let filter =
            |types: &[&str]| super::filter(&types.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            filter(&["payment.failed", "order.rejected"]),
            r#"NOT attributes:"ce-type" OR attributes."ce-type" = "payment.failed" OR attributes."ce-type" = "order.rejected""#
        );
        assert_eq!(
            filter(&[
                "invoice.created",
                "order.cancelled",
                "order.persisted",
                "order.rejected",
                "payment.failed",
                "payment.succeeded"
            ]),
            r#"NOT attributes:"ce-type" OR hasPrefix(attributes."ce-type", "invoice.") OR hasPrefix(attributes."ce-type", "order.") OR hasPrefix(attributes."ce-type", "payment.")"#
        );
    }
}
