//! A publisher with faults.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use pushbox::{
    Message,
    publisher::{PublishError, Publisher},
};

/// A publisher that records the published messages, and injects refusals.
#[derive(Default)]
pub struct Recorder {
    messages: Mutex<Vec<Message>>,
    refusals: Mutex<VecDeque<Refusal>>,
    always: Mutex<Option<Refusal>>,
    hanging_text: Mutex<Option<&'static str>>,
}

/// The failure of one publication.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// No failure. It lets a message pass before one that is refused.
    None,
    /// The publisher returns an error.
    Fails,
    /// The call never returns.
    Hangs,
}

impl Recorder {
    /// Injects these refusals into the next publications, one each.
    pub fn next(&self, refusals: &[Refusal]) {
        self.refusals.lock().expect("a lock").extend(refusals);
    }

    /// Injects this refusal into every publication from now on. [`next`](Self::next) takes precedence.
    pub fn always(&self, refusal: Refusal) {
        *self.always.lock().expect("a lock") = Some(refusal);
    }

    /// Publications of data with this text fail after 4 seconds, the deadline of the real publisher.
    pub fn hang_on(&self, text: &'static str) {
        *self.hanging_text.lock().expect("a lock") = Some(text);
    }

    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().expect("a lock").clone()
    }

    pub fn len(&self) -> usize {
        self.messages().len()
    }

    /// The distinct `ce-id`s. Consumers drop duplicates, so they handle one event for each.
    pub fn ids(&self) -> BTreeSet<String> {
        self.messages().iter().map(|message| message.attributes["ce-id"].clone()).collect()
    }

    /// The only published message.
    pub fn only(&self) -> Message {
        let mut messages = self.messages();
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }
}

#[async_trait]
impl Publisher for Recorder {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        let hanging_text = *self.hanging_text.lock().expect("a lock");
        if hanging_text.is_some_and(|text| String::from_utf8_lossy(&message.data).contains(text)) {
            tokio::time::sleep(pushbox::Timing::DEFAULT.publish).await;
            return Err(PublishError { topic: message.topic, reason: "no answer in time".to_owned() });
        }
        let next = self.refusals.lock().expect("a lock").pop_front();
        let refusal = next.or(*self.always.lock().expect("a lock")).unwrap_or(Refusal::None);
        match refusal {
            Refusal::None => {
                let mut messages = self.messages.lock().expect("a lock");
                messages.push(message);
                Ok(messages.len().to_string())
            }
            Refusal::Fails => Err(PublishError { topic: message.topic, reason: "injected".to_owned() }),
            Refusal::Hangs => std::future::pending().await,
        }
    }
}
