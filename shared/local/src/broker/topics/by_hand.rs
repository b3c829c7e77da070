//! What a person does with messages from the console.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use pushbox::wire::attribute;

use super::Topics;
use crate::broker::{Published, Stage, policy::after, subscription::Subscription};

impl Topics {
    /// Forgets the recent events. Their deliveries go on.
    pub(crate) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Delivers a recent event again: to one subscription, or to all that had it. With two copies, both are
    /// delivered at the same time. Returns the number of deliveries.
    pub(crate) fn deliver_again(
        &mut self,
        number: u64,
        only: Option<&str>,
        copies: u8,
        now: Timestamp,
    ) -> usize {
        let Some(event) = self.recent.event(number) else { return 0 };
        let message = event.message.clone();
        let named = event.deliveries.iter_mut().filter(|(name, _)| only.is_none_or(|only| only == *name));
        let mut deliveries = 0;
        for (name, fate) in named {
            let Some(subscription) = self.subscriptions.get_mut(name).filter(|found| !found.is_full()) else {
                continue;
            };
            for copy in 0..copies {
                subscription.add(message.clone(), after(now, Duration::from_micros(copy.into())));
                deliveries += 1;
            }
            (fate.stage, fate.outcome, fate.failure) = (Stage::Waiting, None, None);
        }
        deliveries
    }

    /// Delivers a dead letter once more, only to the subscription that failed. Returns the number of the new message.
    pub(crate) fn replay_letter(&mut self, service: &str, number: u64, now: Timestamp) -> Option<u64> {
        let letter =
            self.letters_of(service)?.unacked().into_iter().find(|letter| letter.number == number)?.clone();
        let named = [attribute::DEAD_LETTER_SUBSCRIPTION, attribute::PUBSUB_SUBSCRIPTION];
        let named = named.into_iter().find_map(|name| letter.attributes.get(name));
        let name = named?.rsplit('/').next()?.to_owned();
        let topic =
            self.topics.iter().find(|(_, names)| names.contains(&name)).map(|(topic, _)| topic.clone())?;
        let failed = self.subscriptions.get_mut(&name);
        let failed =
            failed.filter(|found| found.is_push() && *found.service == *service && !found.is_full())?;
        self.last_message += 1;
        let message = Arc::new(Published {
            number: self.last_message,
            topic,
            attributes: letter.attributes.clone(),
            data: letter.data.clone(),
            publish_time: now,
            last_failure: None,
        });
        failed.add(message.clone(), now);
        self.recent.published(message, &[name]);
        self.drop_letter(service, number);
        Some(self.last_message)
    }

    /// Removes a dead letter. Returns false if there is no such letter.
    pub(crate) fn drop_letter(&mut self, service: &str, number: u64) -> bool {
        let holders = self.subscriptions.values_mut().filter(|holder| holder.is_holder());
        let taken =
            { holders }.find(|holder| *holder.service == *service).and_then(|holder| holder.take(number));
        taken.is_some()
    }

    fn letters_of(&self, service: &str) -> Option<&Subscription> {
        self.subscriptions.values().find(|holder| holder.is_holder() && *holder.service == *service)
    }
}
