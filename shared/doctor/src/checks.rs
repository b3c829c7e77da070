//! All checks. To add one: a function, a line here, and a broken catalog or plan in tests/doctor/broken/
//! that triggers it.

mod access;
mod alerts;
mod catalog;
mod dead_letters;
mod domain;
mod grants;
mod limits;
mod objectives;
mod receipts;
mod revisions;
mod secrets;
mod services;
mod settings;
mod subscriptions;
mod timers;
mod topics;

use ::catalog::Catalog;

use super::plan::Plan;

pub(super) struct Finding {
    pub(super) problem: String,
    pub(super) consequence: &'static str,
    pub(super) remedy: String,
    /// Whether it can be intended.
    pub(super) is_warning: bool,
}

impl Finding {
    fn new(problem: impl Into<String>, consequence: &'static str, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), consequence, remedy: remedy.into(), is_warning: false }
    }

    fn warning(problem: impl Into<String>, consequence: &'static str, remedy: impl Into<String>) -> Self {
        Self { is_warning: true, ..Self::new(problem, consequence, remedy) }
    }
}

pub(super) struct Check<F> {
    pub(super) name: &'static str,
    /// Completes the sentence "It finds …".
    pub(super) description: &'static str,
    pub(super) run: F,
}

const fn check<F>(name: &'static str, description: &'static str, run: F) -> Check<F> {
    Check { name, description, run }
}

pub(super) type CatalogCheck = fn(&Catalog) -> Vec<Finding>;

/// The catalog holds only the deployed systems, with the name prefix of the deployment.
pub(super) type PlanCheck = fn(&Catalog, &Plan) -> Vec<Finding>;

pub(super) const CATALOG_CHECKS: &[Check<CatalogCheck>] = &[
    check("timing", "deadlines in the wrong order", limits::timing),
    check("limits", "values that Pub/Sub or Cloud Run reject", limits::limits),
    check("names", "names that Pub/Sub or Cloud Run reject", limits::names),
    check("receipts", "receipts that expire before a message can come back", receipts::retention),
    check("unhandled-event", "events that a service publishes and no service handles", catalog::unhandled),
    check(
        "unpublished-event",
        "events that a service handles and no service publishes",
        catalog::unpublished,
    ),
    check("wrong-topic", "events that are published or handled on the wrong topic", catalog::wrong_topic),
    check(
        "second-subscription",
        "services with two subscriptions to one topic",
        catalog::second_subscription,
    ),
    check("shared-name", "resources of one kind with the same name", catalog::shared_names),
    check("filter-length", "filters that are too long for Pub/Sub", catalog::filter_length),
    check("filter", "filters that drop messages for the service", catalog::filter),
];

pub(super) const PLAN_CHECKS: &[Check<PlanCheck>] = &[
    check("missing", "services, topics and subscriptions that do not exist", services::missing),
    check("names-prefix", "services that use the topics of another deployment", services::names_prefix),
    check("wrong-code", "services that run the code of another service", services::wrong_code),
    check(
        "request-timeout",
        "request timeouts that are shorter than the ack deadline",
        services::request_timeout,
    ),
    check("push-auth", "services with the wrong authentication of pushes", services::push_auth),
    check("relay-job", "producers without a job that calls POST /relay each minute", services::relay_job),
    check("relay-deadline", "relay jobs that wait too short for an answer", services::relay_deadline),
    check("sign-in", "services that disagree about access tokens", services::sign_in),
    check("proxies", "services that take a wrong address for that of their callers", services::proxies),
    check("network", "services whose traffic goes to a network, which may be a dead end", services::network),
    check("project", "services that use another project", services::project),
    check("ingress", "services that their callers cannot reach", services::ingress),
    check("domain", "load balancers that do not reach the public services", domain::domain),
    check("traffic", "services whose newest revision gets no traffic", revisions::traffic),
    check("instances", "services without instances", revisions::instances),
    check("startup", "probes that stop new instances", revisions::startup),
    check("liveness", "probes that restart a sound container", revisions::liveness),
    check("stand-in", "services with a fake of a mail server or of Stripe", secrets::stand_ins),
    check("secret", "services that lack a secret, or what belongs to it", secrets::missing),
    check("topic-schema", "topics with a schema, which refuses messages", topics::schema),
    check("transform", "topics and subscriptions that change or drop messages", topics::transforms),
    check("subscription-topic", "subscriptions to the wrong topic", subscriptions::topic),
    check("subscription-filter", "filters that differ from the catalog", subscriptions::filter),
    check("ack-deadline", "ack deadlines that are not longer than the lease", subscriptions::ack_deadline),
    check("retry-policy", "retry policies that differ from the catalog", subscriptions::retry_policy),
    check("retention", "retention times that differ from the catalog", subscriptions::retention),
    check("expiring-subscription", "subscriptions that expire when they are unused", subscriptions::expiry),
    check("push-endpoint", "subscriptions that do not push to their service", subscriptions::push_endpoint),
    check("push-form", "pushes without the attributes of their messages", subscriptions::push_form),
    check(
        "second-delivery",
        "subscriptions to a service that the catalog does not declare",
        subscriptions::second_delivery,
    ),
    check(
        "push-token",
        "deliveries without a token, or with a token that is rejected",
        subscriptions::push_token,
    ),
    check(
        "dead-letter-policy",
        "subscriptions with a missing or wrong dead-letter policy",
        dead_letters::policy,
    ),
    check("dead-letter-holder", "dead letters that are not kept, or not long enough", dead_letters::holder),
    check("dead-letter-alert", "dead letters that trigger no alert", alerts::dead_letters),
    check("backlog-alert", "subscriptions whose waiting messages trigger no alert", alerts::backlog),
    check("relay-alert", "relay jobs whose failures trigger no alert", alerts::relays),
    check("timer-alert", "queues of timers whose failures trigger no alert", alerts::timers),
    check("error-alert", "services whose errors trigger no alert", alerts::errors),
    check("budget-alert", "public services whose error budget triggers no alert", alerts::budget_burn),
    check("slo", "public services whose errors no SLO counts", objectives::objectives),
    check("uptime-alert", "uptime checks whose failures trigger no alert", alerts::uptime_alerts),
    check("uptime", "public services that no uptime check calls", alerts::uptime),
    check("alert-threshold", "alerts that fire never, late, or all the time", alerts::thresholds),
    check("alert-channel", "alerts that nobody gets", alerts::channels),
    check(
        "grant-dead-letters",
        "dead-letter topics that Pub/Sub may not publish to",
        grants::agent_publishes_dead_letters,
    ),
    check(
        "grant-acknowledge",
        "subscriptions where Pub/Sub may not acknowledge messages",
        grants::agent_acknowledges,
    ),
    check("grant-sign", "delivery identities that Pub/Sub may not sign tokens as", grants::agent_signs),
    check("grant-invoke", "delivery identities that may not call their service", grants::invoke),
    check("grant-publish", "services that may not publish to their topics", grants::publish),
    check("grant-documents", "services that may not use their database", grants::documents),
    check(
        "excess-publish",
        "accounts that may publish more than the catalog declares",
        grants::excess_publish,
    ),
    check(
        "excess-secret",
        "accounts that may read more secrets than the catalog declares",
        grants::excess_secrets,
    ),
    check("excess-invoke", "delivery identities that may call another service", grants::excess_invoke),
    check("private-service", "private services that anyone may call", grants::private_service),
    check("open-grant", "grants to strangers", access::strangers),
    check("excess-role", "roles on the whole project that reach too far", access::excess_roles),
    check(
        "excess-identity",
        "members that may act as a service, or deliver as its identity",
        access::impersonation,
    ),
    check("authoritative-grant", "grants that remove a role from all other members", grants::authoritative),
    check("database", "databases that the services cannot use", receipts::database),
    check("backup", "databases that cannot be restored", receipts::backup),
    check("timer-queue", "queues of timers that are missing, paused, or lose tasks", timers::queues),
    check("grant-timer", "services that may not set or cancel their timers", timers::grants),
    check("grant-secret", "secrets that their services may not read", grants::secrets),
    check("setting", "single settings that make a resource useless, unsafe or silent", settings::settings),
    check("ttl", "receipts that are never deleted", receipts::ttl),
    check("receipt-index", "receipt fields with an index that no query needs", receipts::indexes),
];
