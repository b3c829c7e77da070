//! What a replay would do, and what a person should know before it.

use futures::future::join_all;
use pushbox::letters::Progress;
use serde::Serialize;

use crate::{Desk, Group, Letter, groups, receipts::may_call_twice};

/// The number of receipts that are read at the same time.
const READS_AT_ONCE: usize = 16;

/// What a replay of some letters would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The letters to replay, grouped.
    pub groups: Vec<Group>,
    /// Each topic with the only service that handles the replays, and their number.
    pub targets: Vec<(String, String, usize)>,
    /// Letters that cannot be replayed.
    pub left_out: Vec<LeftOut>,
    /// Letters whose event the service has handled. A replay only publishes the events of the receipt again.
    pub handled: Vec<String>,
    /// Letters whose call to the outside may have been made more than 24 hours ago. Stripe has forgotten the idempotency
    /// key, so a replay can charge twice.
    pub may_call_twice: Vec<String>,
    /// Letters whose receipt cannot be read, with the reason.
    pub unknown: Vec<LeftOut>,
}

/// A letter, and why it is not replayed, or why nothing is known about it.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// The letter's id.
    pub letter: String,
    /// The reason.
    pub why: String,
}

/// Sorts out the letters that can be replayed, and reads their receipts.
pub async fn plan(desk: &mut Desk, letters: Vec<Letter>) -> (Vec<Letter>, Plan) {
    let (letters, others): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| letter.target.is_ok());
    let left_out = others.into_iter().filter_map(|letter| {
        let why = letter.target.err()?.to_string();
        Some(LeftOut { letter: letter.id, why })
    });
    let mut plan = Plan {
        groups: groups(&letters),
        targets: Vec::new(),
        left_out: left_out.collect(),
        handled: Vec::new(),
        may_call_twice: Vec::new(),
        unknown: Vec::new(),
    };
    for letter in &letters {
        let Ok(target) = &letter.target else { continue };
        let is_same = |(topic, service, _): &&mut (String, String, usize)| {
            *topic == target.topic && *service == letter.service
        };
        match plan.targets.iter_mut().find(is_same) {
            Some((_, _, count)) => *count += 1,
            None => plan.targets.push((target.topic.clone(), letter.service.clone(), 1)),
        }
    }
    for (letter, progress) in letters.iter().zip(progress_of(desk, &letters).await) {
        match progress {
            Ok(Progress::Handled) => plan.handled.push(letter.id.clone()),
            Ok(progress) if may_call_twice(progress, desk.clock.now()) => {
                plan.may_call_twice.push(letter.id.clone());
            }
            Ok(_) => {}
            Err(why) => plan.unknown.push(LeftOut { letter: letter.id.clone(), why }),
        }
    }
    (letters, plan)
}

/// Reads the receipts of letters, in order, and keeps the leases.
pub(crate) async fn progress_of(desk: &mut Desk, letters: &[Letter]) -> Vec<Result<Progress, String>> {
    let mut found = Vec::with_capacity(letters.len());
    for chunk in letters.chunks(READS_AT_ONCE) {
        let read = async |letter: &Letter| {
            let target = letter.target.as_ref().map_err(ToString::to_string)?;
            desk.receipts.progress(&letter.service, &target.receipt).await
        };
        found.extend(join_all(chunk.iter().map(read)).await);
        desk.tend().await;
    }
    found
}
