//! The rules about delay: how many requests a small world's faults make fail, and how long its
//! message waits because of that. A slow event breaks no rule about outcomes.

use std::time::Duration;

use jiff::Timestamp;
use pushbox::Timing;

use crate::{
    Fault, Step,
    choice::Taken,
    ledger::{Ledger, after},
};

/// How long a delivery may take, besides the pause before it.
const PATIENCE: Duration = Duration::from_secs(3);

/// The failures and the duration of a world.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Delay {
    /// How many requests were answered with a server error.
    failures: usize,
    /// The time of the last answer to a delivery. Replays are not included.
    last_answer: Option<Timestamp>,
}

impl Delay {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let failures = ledger.requests.iter().filter(|request| request.has_failed).count();
        Self {
            failures,
            last_answer: ledger.requests.iter().filter_map(|request| request.delivered_at()).max(),
        }
    }

    /// Compares this world with the world without faults. Says nothing about faults that end a process,
    /// hide an answer to Pub/Sub, or take long.
    pub(crate) fn compare(
        &self,
        baseline: &Self,
        script: &[(usize, Fault)],
        steps: &[Taken],
    ) -> Result<(), String> {
        let faults: Vec<(Step, Fault)> =
            script.iter().map(|(number, fault)| (steps[*number].step, *fault)).collect();
        let Some(most) = faults.iter().map(|fault| failing(*fault)).sum::<Option<usize>>() else {
            return Ok(());
        };
        // A delivery may not know of its claim, or may be unable to release it. Then others wait for the lease.
        let has = |step, fault| faults.contains(&(step, fault));
        let is_refused = faults.len() > 1 && has(Step::Commit, Fault::Refused);
        let is_unknown = has(Step::Commit, Fault::LostAnswer) && has(Step::Get, Fault::Failed);
        if is_refused || is_unknown {
            return Ok(());
        }
        if self.failures > baseline.failures + most {
            return Err(format!(
                "a request fails only if one of its steps fails: {} failed, expected at most {most}",
                self.failures
            ));
        }
        let again = |failures| Timing::DEFAULT.min_backoff * (1u32 << failures) + PATIENCE;
        let deliveries: Duration = (0..self.failures).map(again).sum();
        match (self.last_answer, baseline.last_answer.map(|first| after(first, deliveries + PATIENCE))) {
            (Some(last), Some(latest)) if last > latest => {
                Err(format!("an event waits only for the next delivery: until {last}, expected {latest}"))
            }
            _ => Ok(()),
        }
    }
}

/// How many requests fail because of this fault. `None` if it may have other effects.
fn failing(fault: (Step, Fault)) -> Option<usize> {
    match fault {
        // A commit is sent again. A message whose commit the store refuses becomes a dead letter.
        (Step::Commit, Fault::Failed | Fault::LostAnswer | Fault::Refused) => Some(0),
        (
            Step::Get | Step::List | Step::Publish | Step::Timer | Step::Call,
            Fault::Failed | Fault::LostAnswer,
        ) => Some(1),
        _ => None,
    }
}
