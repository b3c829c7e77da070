//! Receipts: how long they are kept, their TTL policy and their indexes. The TTL policies of other documents.

use std::collections::BTreeSet;

use ::catalog::Catalog;

use super::{Finding, limits::TIMING_SOURCE};
use crate::plan::{CloudRunService, Field, Plan};

const DAY: u64 = 24 * 60 * 60;

pub(super) fn retention(catalog: &Catalog) -> Vec<Finding> {
    let delivery = &catalog.delivery;
    // A message can wait in its subscription, then as a dead letter, and after a replay in its
    // subscription again.
    let needed = 2 * delivery.retention_seconds + delivery.dead_letter_retention_seconds;
    let kept = catalog.receipts.keep_seconds;
    if kept >= needed {
        return Vec::new();
    }
    vec![Finding::new(
        format!(
            "receipts are kept for {} days, but a message can come back after {} days",
            kept / DAY,
            needed / DAY
        ),
        "a late redelivery counts as a new event and is handled twice",
        format!(
            "keep them for 2 x retentionSeconds + deadLetterRetentionSeconds = {needed} s \
             (receipt_retention in {TIMING_SOURCE})"
        ),
    )]
}

/// The databases that services use.
fn databases(plan: &Plan) -> BTreeSet<String> {
    plan.services.iter().map(CloudRunService::database).collect()
}

pub(super) fn database(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    const REMEDY: &str = "use a database in Native mode, and name it in FIRESTORE_DATABASE";
    let mut findings = Vec::new();
    for name in databases(plan) {
        match plan.databases.iter().find(|database| database.name == name) {
            Some(database) if database.is_native => {}
            Some(_) => findings.push(Finding::new(
                format!("the database {name} is not in Firestore's Native mode"),
                "the services cannot read or write documents, and every message becomes a dead letter",
                REMEDY,
            )),
            // Another configuration may manage it.
            None => findings.push(Finding::warning(
                format!("the database {name}, which services use, is not part of this deployment"),
                "the services share documents with another copy, or fail on every event",
                REMEDY,
            )),
        }
    }
    findings
}

pub(super) fn backup(_: &Catalog, plan: &Plan) -> Vec<Finding> {
    let used = databases(plan);
    let deployed = plan.databases.iter().filter(|database| used.contains(&database.name));
    deployed
        .filter(|database| !database.keeps_versions && !plan.backed_up.contains(&database.name))
        .map(|database| {
            Finding::warning(
                format!("the database {} has neither backups nor old versions", database.name),
                "documents that a mistake deletes or changes are lost for good",
                "set the variable backup_days or point_in_time_recovery",
            )
        })
        .collect()
}

/// The settings of a field.
fn settings<'a>(plan: &'a Plan, database: &str, collection: &str, name: &str) -> Option<&'a Field> {
    plan.fields
        .iter()
        .find(|field| field.database == database && field.collection == collection && field.field == name)
}

pub(super) fn ttl(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let ttl_field = &catalog.receipts.ttl_field;
    let others = catalog.services.iter().flat_map(|service| &service.expires);
    let collections: BTreeSet<&String> = others.chain([&catalog.receipts.collection]).collect();
    let mut findings = Vec::new();
    for database in databases(plan) {
        for collection in &collections {
            if settings(plan, &database, collection, ttl_field).is_some_and(|field| field.expires) {
                continue;
            }
            let name = format!("{collection}.{ttl_field}");
            findings.push(Finding::new(
                format!("{name} in the database {database} has no TTL policy"),
                "expired documents are never deleted, so the database and its cost keep growing",
                format!(
                    "add a google_firestore_field for {name} with a ttl_config and an empty index_config"
                ),
            ));
        }
    }
    findings
}

pub(super) fn indexes(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let receipts = &catalog.receipts;
    let is_indexed =
        |database: &str, name: &String| match settings(plan, database, &receipts.collection, name) {
            Some(field) => field.is_indexed,
            // Firestore indexes a field without settings. For the TTL field, `ttl` reports that already.
            None => *name != receipts.ttl_field,
        };
    let names: BTreeSet<&String> = receipts.unindexed.iter().chain([&receipts.ttl_field]).collect();
    let mut findings = Vec::new();
    for database in databases(plan) {
        for name in names.iter().filter(|name| is_indexed(&database, name)) {
            let name = format!("{}.{name}", receipts.collection);
            findings.push(Finding::new(
                format!("{name} in the database {database} is indexed"),
                "each commit also writes the index; if values only grow, it takes about 500 writes a second",
                format!("add a google_firestore_field for {name} with an empty index_config"),
            ));
        }
    }
    findings
}
