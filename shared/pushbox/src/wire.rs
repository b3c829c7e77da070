//! The names and limits on the wire: attributes, headers, and what Pub/Sub accepts.

/// Attributes of a message.
pub mod attribute {
    /// The id of the event. This and the other `ce-` names follow the
    /// [CloudEvents binding for Pub/Sub](https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md),
    /// in binary mode.
    pub const ID: &str = "ce-id";
    /// The service that published the event.
    pub const SOURCE: &str = "ce-source";
    /// The type of the event, such as `user.created`.
    pub const TYPE: &str = "ce-type";
    /// The time at which the event happened, as in RFC 3339.
    pub const TIME: &str = "ce-time";
    /// The id of the event that caused this one. If a command caused it: the id of the command's receipt. This and the
    /// next follow
    /// [CloudEvents' correlation extension](https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/correlation.md).
    pub const CAUSATION_ID: &str = "ce-causationid";
    /// The id of the event or of the command that began the story. All events of the story have it.
    pub const CORRELATION_ID: &str = "ce-correlationid";
    /// The version of CloudEvents: `1.0`.
    pub const SPEC_VERSION: &str = "ce-specversion";
    /// The media type of the data.
    pub const CONTENT_TYPE: &str = "content-type";
    /// The [trace](https://www.w3.org/TR/trace-context/) that the event belongs to.
    pub const TRACEPARENT: &str = "traceparent";
    /// Additions of tracing systems, passed on unchanged.
    pub const TRACESTATE: &str = "tracestate";

    /// In a dead letter: the reason, without personal data.
    pub const DEAD_LETTER_REASON: &str = "dead-letter-reason";
    /// In a dead letter: the service that rejected the message.
    pub const DEAD_LETTER_SERVICE: &str = "dead-letter-service";
    /// In a dead letter: the subscription that delivered the message.
    pub const DEAD_LETTER_SUBSCRIPTION: &str = "dead-letter-subscription";
    /// In a dead letter and in its replay: the id of the original message. It makes the replay the same event if the
    /// message has no [`ID`], and it marks the message as a replay.
    pub const DEAD_LETTER_MESSAGE_ID: &str = "dead-letter-message-id";
    /// In a dead letter: one of the codes in [`code`](super::code). It stays the same when the reason's text changes.
    pub const DEAD_LETTER_CODE: &str = "dead-letter-code";
    /// In a dead letter: the number of attributes of the original that had no room.
    pub const DEAD_LETTER_DROPPED: &str = "dead-letter-dropped-attributes";

    /// In a replay: the only service that handles the message. All other services acknowledge it at once.
    pub const REPLAY_ONLY: &str = "replay-only";
    /// In a replay: the id of the run of `functions dead-letters replay`. A letter that comes back keeps it.
    pub const REPLAY_ID: &str = "replay-id";
    /// In a replay: how many times the letter has been replayed, this time included.
    pub const REPLAY_ATTEMPT: &str = "replay-attempt";

    /// In a message that Pub/Sub itself moved to a dead-letter topic: the number of its deliveries. See
    /// [the documentation](https://cloud.google.com/pubsub/docs/handling-failures#track-delivery-attempts).
    pub const PUBSUB_DELIVERY_COUNT: &str = "CloudPubSubDeadLetterSourceDeliveryCount";
    /// Likewise: the subscription, by its short name.
    pub const PUBSUB_SUBSCRIPTION: &str = "CloudPubSubDeadLetterSourceSubscription";
    /// Likewise: the project of the subscription.
    pub const PUBSUB_SUBSCRIPTION_PROJECT: &str = "CloudPubSubDeadLetterSourceSubscriptionProject";
    /// Likewise: the time at which the original was published.
    pub const PUBSUB_TOPIC_PUBLISH_TIME: &str = "CloudPubSubDeadLetterSourceTopicPublishTime";
}

/// The values of [`attribute::DEAD_LETTER_CODE`].
pub mod code {
    /// The service rejected the message.
    pub const REJECTED: &str = "rejected";
    /// The service failed on the message too often. The reason holds the last failure.
    pub const EXHAUSTED: &str = "exhausted";
}

/// Headers of requests and responses, in lower case.
pub mod header {
    /// In an [unwrapped push](https://cloud.google.com/pubsub/docs/payload-unwrapping): the message's id.
    pub const MESSAGE_ID: &str = "x-goog-pubsub-message-id";
    /// In an unwrapped push: the subscription.
    pub const SUBSCRIPTION: &str = "x-goog-pubsub-subscription-name";
    /// In an unwrapped push: the time at which the message was published.
    pub const PUBLISH_TIME: &str = "x-goog-pubsub-publish-time";
    /// In the response to a push: the outcome. Several outcomes share a status.
    pub const OUTCOME: &str = "pushbox-outcome";
    /// In a command: the key by which the caller may repeat it. See
    /// [the draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/).
    pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
}

/// [Pub/Sub's limits](https://cloud.google.com/pubsub/quotas#resource_limits).
pub mod limit {
    /// Attributes of a message.
    pub const ATTRIBUTES: usize = 100;
    /// Bytes of an attribute's name.
    pub const ATTRIBUTE_NAME_BYTES: usize = 256;
    /// Bytes of an attribute's value.
    pub const ATTRIBUTE_VALUE_BYTES: usize = 1024;
    /// Names of attributes must not begin with this.
    pub const RESERVED_NAME_PREFIX: &str = "goog";
    /// Bytes of a message's data.
    pub const DATA_BYTES: usize = 10_000_000;
    /// Bytes of the data of an event that a timer publishes. A task holds it in base64, beside the attributes. It has
    /// at most 1 MB by the [quotas](https://cloud.google.com/tasks/docs/quotas) and 100 KB by the
    /// [reference](https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks/create).
    pub const TIMER_DATA_BYTES: usize = 64 << 10;
    /// Bytes of a subscription's
    /// [filter](https://cloud.google.com/pubsub/docs/subscription-message-filter#create_a_subscription_with_a_filter).
    pub const FILTER_BYTES: usize = 256;
}

/// The queue of Cloud Tasks that holds a service's timers.
#[must_use]
pub fn timer_queue(service: &str) -> String {
    format!("{service}-timers")
}

/// The dead-letter topic of a service. The subscription that keeps its messages has the same name.
#[must_use]
pub fn dead_letter_topic(service: &str) -> String {
    format!("{service}-dead-letter")
}
