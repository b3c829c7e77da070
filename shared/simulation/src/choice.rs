//! The only source of choice in a world: a seed, or a script.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use tokio::sync::Notify;

use crate::faults::{Counts, Fault, Step};

/// The largest difference between a process's clock and the world's.
pub(crate) const MOST_SKEW: Duration = Duration::from_secs(10);

/// Decides which faults happen, and records the steps.
pub(crate) struct Choice {
    state: Mutex<State>,
    /// Notified at the step with the number `notify_at`.
    pub(crate) reached: Arc<Notify>,
}

struct State {
    source: Source,
    /// While false, no faults happen.
    chaos: bool,
    notify_at: Option<usize>,
    steps: Vec<Taken>,
    counts: Counts,
    history: Option<Vec<String>>,
}

enum Source {
    Random(Random),
    /// Each fault with the number of its step, in ascending order.
    Script(Vec<(usize, Fault)>),
}

/// A step that was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) step: Step,
    pub(crate) in_request: bool,
}

/// Faults are planned for the n-th step of a kind, so that rare steps fail as often as frequent
/// ones. Half of them are soon followed by another fault in the same service: most bugs show only
/// when two faults hit one message.
struct Random {
    rng: Rng,
    planned: Vec<(Step, usize)>,
    seen: [usize; Step::ALL.len()],
    next: Option<(String, usize)>,
}

impl Random {
    /// `usual` is the number of steps of each kind in a world without faults.
    fn new(seed: u64, usual: [usize; Step::ALL.len()]) -> Self {
        let mut rng = Rng::with_seed(seed);
        let planned = (0..rng.usize(0..9)).filter_map(|_| {
            // Half of the faults of a world with replays hit them.
            if usual[Step::Pull as usize] > 0 && rng.bool() {
                let step = *rng.choice(&[Step::Pull, Step::Acknowledge, Step::Publish, Step::Get])?;
                return Some((step, rng.usize(1..=usual[step as usize].max(1) * 5 / 4)));
            }
            let step = *rng.choice(&[
                Step::Arrival,
                Step::Get,
                Step::List,
                Step::Commit,
                Step::Commit,
                Step::Commit,
                Step::Publish,
                Step::Timer,
                Step::Fire,
                Step::Call,
                Step::Call,
                Step::Answer,
            ])?;
            let most = usual[step as usize].max(1) * 5 / 4;
            Some((step, rng.usize(1..=most.max(1))))
        });
        let planned = planned.collect();
        Self { rng, planned, seen: [0; Step::ALL.len()], next: None }
    }

    fn fault(&mut self, step: Step, service: &str, in_request: bool) -> Option<Fault> {
        let seen = &mut self.seen[step as usize];
        *seen += 1;
        let is_planned = self.planned.contains(&(step, *seen));
        let follows = match &mut self.next {
            Some((at, left)) if at == service => {
                *left -= 1;
                *left == 0
            }
            _ => false,
        };
        if follows {
            self.next = None;
        }
        let is_due = match step {
            // Clock faults are frequent, and not planned.
            Step::Start => self.rng.bool(),
            _ => is_planned || follows,
        };
        if !is_due {
            return None;
        }
        let applicable: Vec<Fault> = applicable(step, in_request).collect();
        let fault = *self.rng.choice(&applicable)?;
        if step != Step::Start && self.rng.bool() {
            self.next = Some((service.to_owned(), self.rng.usize(1..=6)));
        }
        Some(fault)
    }
}

/// The faults that can happen. Background work has no caller that could hang up.
pub(crate) fn applicable(step: Step, in_request: bool) -> impl Iterator<Item = Fault> {
    step.faults().iter().copied().filter(move |fault| in_request || *fault != Fault::HangUp)
}

impl Choice {
    pub(crate) fn random(seed: u64, usual: [usize; Step::ALL.len()]) -> Self {
        let choice = Self::new(Source::Random(Random::new(seed, usual)));
        choice.state().history = Some(Vec::new());
        choice
    }

    /// Every step takes the same short time, and only the faults in the script happen. With
    /// `notify_at`, [`reached`](Self::reached) is notified at the step with that number.
    pub(crate) fn script(script: &[(usize, Fault)], notify_at: Option<usize>, with_history: bool) -> Self {
        let choice = Self::new(Source::Script(script.to_vec()));
        choice.state().notify_at = notify_at;
        choice.state().history = with_history.then(Vec::new);
        choice
    }

    fn new(source: Source) -> Self {
        let state = State {
            source,
            chaos: true,
            notify_at: None,
            steps: Vec::new(),
            counts: Counts { worlds: 1, ..Counts::default() },
            history: None,
        };
        Self { state: Mutex::new(state), reached: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault at this step of the service, if any.
    pub(crate) fn fault(&self, step: Step, service: &str, in_request: bool) -> Option<Fault> {
        let state = &mut *self.state();
        if !state.chaos {
            return None;
        }
        let number = state.steps.len();
        state.steps.push(Taken { step, in_request });
        state.counts.timers += u64::from(step == Step::Timer);
        state.counts.replays += u64::from(step == Step::Pull);
        if state.notify_at == Some(number) {
            self.reached.notify_one();
        }
        let fault = match &mut state.source {
            Source::Random(random) => random.fault(step, service, in_request),
            Source::Script(script) => {
                let due = script.iter().find(|(at, _)| *at == number);
                due.map(|(_, fault)| *fault)
            }
        };
        if let Some(fault) = fault {
            *state.counts.faults.entry((step, fault)).or_default() += 1;
        }
        fault
    }

    /// True once in `n` times, as long as faults happen.
    pub(crate) fn once_in(&self, n: u32) -> bool {
        let state = &mut *self.state();
        match &mut state.source {
            Source::Random(random) => state.chaos && random.rng.u32(0..n) == 0,
            Source::Script(_) => false,
        }
    }

    pub(crate) fn pick(&self, n: usize) -> usize {
        match &mut self.state().source {
            Source::Random(random) => random.rng.usize(0..n),
            Source::Script(_) => 0,
        }
    }

    pub(crate) fn up_to(&self, longest: Duration) -> Duration {
        match &mut self.state().source {
            Source::Random(random) => Duration::from_micros(random.rng.u64(0..=longest.as_micros() as u64)),
            // Time must pass, even for a caller that waits in a loop.
            Source::Script(_) => longest / 2,
        }
    }

    /// How long one half of a step takes.
    pub(crate) fn pause(&self) -> Duration {
        let is_slow = self.once_in(60);
        match &mut self.state().source {
            Source::Random(random) => {
                Duration::from_micros(random.rng.u64(0..=if is_slow { 2_000_000 } else { 20_000 }))
            }
            Source::Script(_) => Duration::from_millis(5),
        }
    }

    /// By how much a clock differs.
    pub(crate) fn skew(&self) -> Duration {
        match &mut self.state().source {
            Source::Random(random) => Duration::from_millis(random.rng.u64(0..=MOST_SKEW.as_millis() as u64)),
            Source::Script(_) => MOST_SKEW,
        }
    }

    pub(crate) fn end_chaos(&self) {
        self.state().chaos = false;
    }

    pub(crate) fn count(&self, count: fn(&mut Counts)) {
        count(&mut self.state().counts);
    }

    pub(crate) fn note(&self, step: impl FnOnce() -> String) {
        if let Some(history) = &mut self.state().history {
            history.push(step());
        }
    }

    pub(crate) fn steps(&self) -> Vec<Taken> {
        self.state().steps.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    pub(crate) fn history(&self) -> Vec<String> {
        self.state().history.clone().unwrap_or_default()
    }
}
