//! How long a service remembers what it has handled.

use std::collections::BTreeSet;

use ::catalog::Catalog;

use super::Finding;
use crate::plan::{Field, Plan, Run};

const DAY: u64 = 24 * 60 * 60;

pub(super) fn kept(catalog: &Catalog) -> Vec<Finding> {
    let delivery = &catalog.delivery;
    // First in its subscription, then as a dead letter, then replayed from the topic.
    let needed = 2 * delivery.retention_seconds + delivery.dead_letter_retention_seconds;
    let kept = catalog.receipts.keep_seconds;
    if kept >= needed {
        return Vec::new();
    }
    vec![Finding::new(
        format!(
            "receipts are kept for {} days, but a message can come back after {}",
            kept / DAY,
            needed / DAY
        ),
        "a late delivery counts as new, and what it does is done twice",
        format!(
            "keep them for 2 x retentionSeconds + deadLetterRetentionSeconds = {needed} s \
             (RECEIPT_RETENTION in shared/pushbox/src/timing.rs)"
        ),
    )]
}

/// The databases that services use.
fn databases(plan: &Plan) -> BTreeSet<String> {
    plan.services.iter().map(Run::database).collect()
}

/// What is set for a field of receipts.
fn settings<'a>(catalog: &Catalog, plan: &'a Plan, database: &str, name: &str) -> Option<&'a Field> {
    plan.fields.iter().find(|field| {
        field.database == database && field.collection == catalog.receipts.collection && field.field == name
    })
}

pub(super) fn ttl(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let receipts = &catalog.receipts;
    let name = format!("{}.{}", receipts.collection, receipts.ttl_field);
    databases(plan)
        .into_iter()
        .filter(|database| {
            settings(catalog, plan, database, &receipts.ttl_field).is_none_or(|field| !field.expires)
        })
        .map(|database| {
            Finding::new(
                format!("nothing removes receipts: {name} in the database {database} has no TTL policy"),
                "the database grows for ever, and so does its price",
                format!("give {name} a google_firestore_field with a ttl_config and an empty index_config"),
            )
        })
        .collect()
}

pub(super) fn indexes(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let receipts = &catalog.receipts;
    let is_indexed = |database: &str, name: &String| match settings(catalog, plan, database, name) {
        Some(field) => field.is_indexed,
        // Firestore indexes what nothing is said of. Of this field, `ttl` says it already.
        None => *name != receipts.ttl_field,
    };
    let names: BTreeSet<&String> = receipts.unindexed.iter().chain([&receipts.ttl_field]).collect();
    let mut findings = Vec::new();
    for database in databases(plan) {
        for name in names.iter().filter(|name| is_indexed(&database, name)) {
            let name = format!("{}.{name}", receipts.collection);
            findings.push(Finding::new(
                format!("{name} in the database {database} is indexed"),
                "each commit writes to its index too, and where values only grow, at its end: about 500 a second",
                format!("give {name} a google_firestore_field with an empty index_config"),
            ));
        }
    }
    findings
}
