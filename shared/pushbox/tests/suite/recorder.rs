//! A publisher that remembers what it was given.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use pushbox::{
    Message,
    publisher::{PublishError, Publisher},
};

/// A publisher that remembers what it was given, and refuses when told to.
#[derive(Default)]
pub struct Recorder {
    messages: Mutex<Vec<Message>>,
    refusals: Mutex<VecDeque<Refusal>>,
    down: Mutex<Option<Refusal>>,
    hanging: Mutex<Option<&'static str>>,
}

/// What happens instead of a publication.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// It is published after all: for one that comes before another.
    None,
    /// An error.
    Fails,
    /// No answer, ever.
    Hangs,
}

impl Recorder {
    /// The next publications go like this.
    pub fn next(&self, refusals: &[Refusal]) {
        self.refusals.lock().expect("a lock").extend(refusals);
    }

    /// From now on every publication goes like this.
    pub fn all(&self, refusal: Refusal) {
        *self.down.lock().expect("a lock") = Some(refusal);
    }

    /// Publications of data with this text never end, as the real publisher's do after 4 seconds.
    pub fn hang_on(&self, text: &'static str) {
        *self.hanging.lock().expect("a lock") = Some(text);
    }

    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().expect("a lock").clone()
    }

    pub fn len(&self) -> usize {
        self.messages().len()
    }

    /// The `ce-id`s, each once: what consumers, who drop repeats, make of it.
    pub fn ids(&self) -> BTreeSet<String> {
        self.messages().iter().map(|message| message.attributes["ce-id"].clone()).collect()
    }

    /// The only message that was published.
    pub fn only(&self) -> Message {
        let mut messages = self.messages();
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }
}

#[async_trait]
impl Publisher for Recorder {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        let hangs_on = *self.hanging.lock().expect("a lock");
        if hangs_on.is_some_and(|text| String::from_utf8_lossy(&message.data).contains(text)) {
            tokio::time::sleep(pushbox::Timing::DEFAULT.publish).await;
            return Err(PublishError { topic: message.topic, reason: "no answer in time".to_owned() });
        }
        let next = self.refusals.lock().expect("a lock").pop_front();
        let refusal = next.or(*self.down.lock().expect("a lock")).unwrap_or(Refusal::None);
        match refusal {
            Refusal::None => {
                let mut messages = self.messages.lock().expect("a lock");
                messages.push(message);
                Ok(messages.len().to_string())
            }
            Refusal::Fails => Err(PublishError { topic: message.topic, reason: "told to".to_owned() }),
            Refusal::Hangs => std::future::pending().await,
        }
    }
}
