//! The faults, and the steps at which they can happen.

use std::{collections::BTreeMap, time::Duration};

/// A point at which a process and the world interact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A process starts.
    Start,
    /// A delivery is on its way to a process.
    Arrival,
    /// The store reads a document.
    Get,
    /// The store reads a part of a collection.
    List,
    /// The store commits.
    Commit,
    /// A message is published.
    Publish,
    /// A timer is set or cancelled.
    Timer,
    /// A timer fires: Cloud Tasks publishes its message.
    Fire,
    /// A call to the outside world.
    Call,
    /// The answer to a delivery is on its way back.
    Answer,
    /// A person's process leases dead letters.
    Pull,
    /// A person's process removes a dead letter.
    Acknowledge,
}

/// A fault at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies before the step takes effect.
    CrashBefore,
    /// The step takes effect, and then the process dies.
    CrashAfter,
    /// The step takes effect, and then the caller of its request hangs up.
    HangUp,
    /// The step has no effect, and returns an error at once.
    Failed,
    /// The step has no effect, and returns no answer within the deadline.
    Lost,
    /// The step takes effect, but returns an error.
    LostAnswer,
    /// The step takes effect, but returns no answer within the deadline.
    NoAnswer,
    /// The store refuses this commit for good.
    Refused,
    /// The step is slow, but just within the deadline.
    Slow,
    /// The step returns no answer within the deadline, and takes effect after it.
    Late,
    /// The process's clock is ahead of the world's.
    ClockAhead,
    /// The process's clock is behind the world's.
    ClockBehind,
}

impl Step {
    pub(crate) const ALL: [Self; 12] = [
        Self::Start,
        Self::Arrival,
        Self::Get,
        Self::List,
        Self::Commit,
        Self::Publish,
        Self::Timer,
        Self::Fire,
        Self::Call,
        Self::Answer,
        Self::Pull,
        Self::Acknowledge,
    ];

    /// The faults that can happen at this step.
    #[must_use]
    pub fn faults(self) -> &'static [Fault] {
        use Fault::{
            ClockAhead, ClockBehind, CrashAfter, CrashBefore, Failed, HangUp, Late, Lost, LostAnswer,
            NoAnswer, Refused, Slow,
        };
        match self {
            Self::Start => &[ClockAhead, ClockBehind],
            Self::Arrival => &[Lost],
            Self::Get | Self::List => &[CrashBefore, HangUp, Failed, Slow],
            Self::Commit => {
                &[CrashBefore, CrashAfter, HangUp, Failed, Lost, LostAnswer, NoAnswer, Refused, Slow, Late]
            }
            Self::Publish | Self::Timer => &[CrashBefore, CrashAfter, HangUp, Failed, LostAnswer, Slow],
            Self::Fire => &[Failed, LostAnswer, Slow],
            Self::Call => &[CrashBefore, CrashAfter, HangUp, Failed, LostAnswer, Slow, NoAnswer],
            Self::Answer => &[LostAnswer],
            Self::Pull => &[CrashBefore, Failed, Slow],
            Self::Acknowledge => &[CrashBefore, CrashAfter, Failed, LostAnswer, Slow],
        }
    }

    /// The time after which a process gives up.
    pub(crate) fn deadline(self) -> Duration {
        match self {
            Self::Call => pushbox::Timing::DEFAULT.call,
            Self::Publish | Self::Timer => pushbox::Timing::DEFAULT.publish,
            _ => pushbox::Timing::DEFAULT.store,
        }
    }
}

impl Fault {
    /// Whether the fault ends the process or the request, and not only one step.
    pub(crate) fn ends_the_request(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter | Self::HangUp)
    }
}

/// How many worlds, deliveries and faults there were.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Worlds.
    pub worlds: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Additional deliveries of messages that no subscriber had nacked.
    pub duplicates: u64,
    /// Timers that were set or cancelled.
    pub timers: u64,
    /// Steps of people who replay dead letters.
    pub replays: u64,
    /// Faults, by step and kind.
    pub faults: BTreeMap<(Step, Fault), u64>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.deliveries += other.deliveries;
        self.duplicates += other.duplicates;
        self.timers += other.timers;
        self.replays += other.replays;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }

    /// The faults that never happened. The worlds say nothing about them. Without timers or replays, their faults cannot
    /// happen.
    #[must_use]
    pub fn missing(&self) -> Vec<(Step, Fault)> {
        let all =
            Step::ALL.into_iter().flat_map(|step| step.faults().iter().map(move |fault| (step, *fault)));
        let can_happen = |step| match step {
            Step::Timer | Step::Fire => self.timers > 0,
            Step::Pull | Step::Acknowledge => self.replays > 0,
            _ => true,
        };
        all.filter(|fault| can_happen(fault.0) && !self.faults.contains_key(fault)).collect()
    }
}
