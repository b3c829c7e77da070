//! A person who replays dead letters, with a process that may die at any step.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use local::broker::DeliveryId;
use pushbox::Clock;
use redrive::{CallError, Desk, Names, Options, Pulled, Receipts, Report, Subscriber, plan, replay};
use tokio_util::sync::CancellationToken;

use crate::{
    World,
    faults::Step,
    wire::{Trouble, Wire},
};

impl World {
    /// Replays all dead letters, as one run of `functions dead-letters replay --all` does. `person` differs between people
    /// who work at the same time, and `run` between all runs. Returns `None` if the process dies, or cannot list the
    /// letters.
    pub async fn replay(&self, person: &str, run: &str, options: Options) -> Option<Report> {
        let dead = CancellationToken::new();
        let (shared, service) = (self.shared().clone(), Arc::<str>::from(person));
        let wire = Arc::new(Wire { shared, process: service.clone(), service, dead: dead.clone() });
        let clock = Clock::following_tokio(self.shared().now());
        let names = Names { project: "local".to_owned(), prefix: String::new() };
        let receipts = Receipts::Store(wire.clone(), clock.clone());
        let mut desk = Desk::new(self.catalog(), None, names, wire.clone(), wire, receipts, clock);
        let work = async {
            let letters = desk.gather().await;
            let report = match letters {
                Ok(letters) => {
                    let (letters, _) = plan(&mut desk, letters).await;
                    Some(replay(&mut desk, letters, run, options, |_| {}).await)
                }
                Err(_) => None,
            };
            desk.close().await;
            report
        };
        let report = tokio::select! {
            biased;
            () = dead.cancelled() => None,
            report = work => report,
        };
        self.choice().note(|| format!("{person} ends {run}: {report:?}"));
        report
    }
}

fn failed(_: Trouble) -> CallError {
    CallError { reason: "no answer".to_owned(), is_missing: false }
}

fn deliveries(ack_ids: &[String]) -> Vec<DeliveryId> {
    ack_ids.iter().filter_map(|id| id.parse().ok()).map(DeliveryId).collect()
}

#[async_trait]
impl Subscriber for Wire {
    async fn pull(&self, subscription: &str, most: usize) -> Result<Vec<Pulled>, CallError> {
        let (shared, name) = (self.shared.clone(), subscription.to_owned());
        let pull = async move {
            let pulled = shared.topics(|topics, now| topics.pull(&name, most, now));
            let pulled = pulled.map_err(|_| failed(Trouble::NotApplied))?.into_iter();
            let pulled = pulled.map(|delivery| Pulled {
                ack_id: delivery.id.0.to_string(),
                message_id: delivery.message.id(),
                attributes: delivery.message.attributes.clone(),
                data: delivery.message.data.clone(),
                publish_time: delivery.message.publish_time,
            });
            Ok(pulled.collect())
        };
        self.io(Step::Pull, || format!("pull from {subscription}"), pull, |trouble| Err(failed(trouble)))
            .await
    }

    async fn lease(&self, subscription: &str, ack_ids: &[String], time: Duration) -> Result<(), CallError> {
        let (shared, name, ids) = (self.shared.clone(), subscription.to_owned(), deliveries(ack_ids));
        let lease = async move {
            let leased = shared.topics(|topics, now| topics.modify_ack_deadline(&name, &ids, time, now));
            leased.map_err(|_| failed(Trouble::NotApplied))
        };
        let what = || format!("lease {} of {subscription} for {time:?}", ack_ids.len());
        self.io(Step::Pull, what, lease, |trouble| Err(failed(trouble))).await
    }

    async fn acknowledge(&self, subscription: &str, ack_ids: &[String]) -> Result<(), CallError> {
        let (shared, name, ids) = (self.shared.clone(), subscription.to_owned(), deliveries(ack_ids));
        let acknowledge = async move {
            for id in ids {
                shared.topics(|topics, now| topics.ack(&name, id, now));
            }
            Ok(())
        };
        let what = || format!("acknowledge {} of {subscription}", ack_ids.len());
        self.io(Step::Acknowledge, what, acknowledge, |trouble| Err(failed(trouble))).await
    }
}
