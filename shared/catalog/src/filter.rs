//! The filter of a subscription.

use std::collections::BTreeSet;

use pushbox::wire::{attribute, limit};

/// A filter that passes these types, and messages without a type. If it is too long for Pub/Sub, a shorter
/// one passes all types with the same first part, such as `ticket-order.`, or with the same first word, such as
/// `ticket`. The service acknowledges the types that it does not handle.
pub(crate) fn filter(types: &[String]) -> String {
    let untyped = format!("NOT attributes:\"{}\"", attribute::TYPE);
    let any_of = |conditions: BTreeSet<String>| {
        conditions.into_iter().fold(untyped.clone(), |filter, condition| filter + " OR " + &condition)
    };
    let beginning = |length: fn(&str) -> Option<usize>| {
        let begin = |name: &String| length(name).map_or(name.clone(), |length| name[..length].to_owned());
        any_of(types.iter().map(begin).map(|begin| has_prefix(&begin)).collect())
    };
    let exact =
        any_of(types.iter().map(|name| format!("attributes.\"{}\" = \"{name}\"", attribute::TYPE)).collect());
    let parts = || beginning(|name| name.find('.').map(|dot| dot + 1));
    let words = || beginning(|name| name.find(['.', '-']));
    let fits = |filter: &String| filter.len() <= limit::FILTER_BYTES;
    Some(exact).filter(fits).or_else(|| Some(parts()).filter(fits)).unwrap_or_else(words)
}

fn has_prefix(begin: &str) -> String {
    format!("hasPrefix(attributes.\"{}\", \"{begin}\")", attribute::TYPE)
}

#[cfg(test)]
mod tests {
    #[test]
    fn shortens_a_filter_that_is_too_long() {
        let filter =
            |types: &[&str]| super::filter(&types.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            filter(&["payment.failed", "order.rejected"]),
            r#"NOT attributes:"ce-type" OR attributes."ce-type" = "order.rejected" OR attributes."ce-type" = "payment.failed""#
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
        assert_eq!(
            filter(&[
                "account.created",
                "charge.refunded",
                "session.revoked",
                "ticket-order.cancelled",
                "ticket-payment.due",
                "ticket-refund.due",
                "ticket.updated"
            ]),
            r#"NOT attributes:"ce-type" OR hasPrefix(attributes."ce-type", "account") OR hasPrefix(attributes."ce-type", "charge") OR hasPrefix(attributes."ce-type", "session") OR hasPrefix(attributes."ce-type", "ticket")"#
        );
    }
}
