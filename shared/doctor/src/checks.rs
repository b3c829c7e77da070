//! Everything that is looked for. To add a check: a function, a line here, and a broken catalog or
//! plan in tests/doctor/broken/ that triggers it.

mod catalog;
mod dead_letters;
mod grants;
mod limits;
mod receipts;
mod services;
mod subscriptions;

use ::catalog::Catalog;

use super::plan::Plan;

/// What is wrong, why it matters, and what to do about it.
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) why: &'static str,
    pub(super) remedy: String,
}

impl Finding {
    fn new(what: impl Into<String>, why: &'static str, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), why, remedy: remedy.into() }
    }
}

pub(super) struct Check<F> {
    pub(super) name: &'static str,
    /// Completes the sentence "It finds …".
    pub(super) finds: &'static str,
    pub(super) run: F,
}

const fn check<F>(name: &'static str, finds: &'static str, run: F) -> Check<F> {
    Check { name, finds, run }
}

pub(super) type OfCatalog = fn(&Catalog) -> Vec<Finding>;

/// The catalog is the part of it that ought to be there, under the names that it ought to have.
pub(super) type OfPlan = fn(&Catalog, &Plan) -> Vec<Finding>;

pub(super) const OF_CATALOG: &[Check<OfCatalog>] = &[
    check("timing", "deadlines out of order", limits::timing),
    check("limits", "values that Pub/Sub or Cloud Run refuse", limits::limits),
    check("names", "names that Pub/Sub or Cloud Run refuse", limits::names),
    check("receipts", "receipts that are forgotten before a message can come back", receipts::kept),
    check("unhandled-event", "events that somebody publishes and nobody handles", catalog::unhandled),
    check("unpublished-event", "events that somebody handles and nobody publishes", catalog::unpublished),
    check("wrong-topic", "events published to or awaited on another topic than theirs", catalog::wrong_topic),
    check(
        "second-subscription",
        "two subscriptions of one service to one topic",
        catalog::second_subscription,
    ),
    check("shared-name", "two things with one name", catalog::shared_names),
    check("filter-length", "filters that are too long", catalog::filter_length),
    check("filter", "filters that do not pass what is handled", catalog::filter),
];

pub(super) const OF_PLAN: &[Check<OfPlan>] = &[
    check("missing", "services, topics and subscriptions that are not there", services::missing),
    check("names-prefix", "services that use the topics of another copy", services::names_prefix),
    check("wrong-code", "services that run another service's code", services::wrong_code),
    check("request-timeout", "requests cut off before the ack deadline", services::request_timeout),
    check("push-auth", "services that cannot tell a push from a forgery", services::push_auth),
    check("relay-job", "producers whose POST /relay nobody calls", services::relay_job),
    check("subscription-topic", "subscriptions to another topic", subscriptions::topic),
    check("subscription-filter", "filters other than the catalog's", subscriptions::filter),
    check("ack-deadline", "ack deadlines that end before the lease", subscriptions::ack_deadline),
    check("retry-policy", "redeliveries other than the catalog's", subscriptions::retry_policy),
    check("retention", "messages kept longer or shorter than the catalog says", subscriptions::retention),
    check("expiring-subscription", "subscriptions that are deleted when unused", subscriptions::expiry),
    check("push-endpoint", "pushes that do not reach their service", subscriptions::push_endpoint),
    check(
        "push-token",
        "deliveries without a token, or with one that is not accepted",
        subscriptions::push_token,
    ),
    check("dead-letter-policy", "messages that are delivered for ever", dead_letters::policy),
    check("dead-letter-holder", "dead letters that nothing keeps, or not for long", dead_letters::holder),
    check("dead-letter-alert", "dead letters that nobody hears of", dead_letters::alert),
    check("grant-dead-letters", "dead letters that Pub/Sub may not park", grants::agent_parks),
    check(
        "grant-acknowledge",
        "parked messages that Pub/Sub may not acknowledge",
        grants::agent_acknowledges,
    ),
    check("grant-sign", "tokens that Pub/Sub may not sign", grants::agent_signs),
    check("grant-invoke", "deliveries that Cloud Run does not let in", grants::invoke),
    check("grant-publish", "services that may not publish what they publish", grants::publish),
    check("grant-documents", "services that may not use their database", grants::documents),
    check(
        "excess-publish",
        "those who may publish where the catalog does not say so",
        grants::excess_publish,
    ),
    check("excess-invoke", "delivery identities that may call another service", grants::excess_invoke),
    check("private-service", "private services that let everyone in", grants::private_service),
    check("authoritative-grant", "grants that take a role from everybody else", grants::authoritative),
    check("ttl", "receipts that are never removed", receipts::ttl),
    check("receipt-index", "indexes of receipts that only cost", receipts::indexes),
];
