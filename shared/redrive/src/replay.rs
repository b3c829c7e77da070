//! The replay.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use pushbox::letters::Progress;
use serde::Serialize;
use tokio::time::Instant;

use crate::{Desk, Letter, plan::progress_of};

/// The largest batch. The verdict on a batch comes before the next one.
const LARGEST_BATCH: usize = 100;

/// How long a batch waits for letters that its service had handled before. Only their return would tell anything.
const RETURN_WAIT: Duration = Duration::from_secs(10);

/// The longest pause between two looks at the verdicts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The speed and the caution of a replay.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of letters in the first batch, at least 1. The next batches have 10 times as many, at most 100.
    pub canary: usize,
    /// The pause after each publication.
    pub pause: Duration,
    /// The replay stops when more letters than this have come back, or have no verdict.
    pub max_failures: usize,
    /// The time in which a batch must have its verdict.
    pub wait: Duration,
}

/// What a replay has done.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The id of the replay.
    pub replay: String,
    /// The number of letters that the service has handled.
    pub handled: usize,
    /// The number of letters whose event the service had handled before, and that have not come back so far. The replay
    /// only publishes the events of the receipt again, and nothing tells whether this has worked.
    pub republished: usize,
    /// Letters that are dead letters again.
    pub came_back: Vec<CameBack>,
    /// Letters without a verdict so far. Pub/Sub is still delivering them.
    pub pending: Vec<String>,
    /// Letters that are published and that could not be removed. They come again after a minute. Their service drops a
    /// second replay if it has handled the first.
    pub not_removed: Vec<String>,
    /// The number of letters that were not published, and that are still there.
    pub unsent: usize,
    /// Why it ended early.
    pub stop: Option<Stop>,
    /// The last error of a call that looked for a verdict, or that removed a letter.
    pub trouble: Option<String>,
}

/// A letter that is a dead letter again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CameBack {
    /// The letter that was replayed.
    pub letter: String,
    /// The new letter.
    pub as_letter: String,
    /// Its reason.
    pub reason: String,
}

/// Why a replay ended early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stop {
    /// A letter of the first batch came back.
    Canary,
    /// Too many letters came back or have no verdict.
    Failures,
    /// A letter could not be published, or perhaps was, or its receipt could not be read. It is still there.
    NotPublished(String),
    /// The desk was told to stop.
    Interrupted,
}

/// A new id for a replay.
#[must_use]
pub fn new_id() -> String {
    format!("r-{:08x}", fastrand::u32(..))
}

/// The progress of a replay.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whether this is the first batch.
    pub is_canary: bool,
    /// The size of the batch.
    pub size: usize,
    /// How many of them are published.
    pub published: usize,
    /// How many are handled.
    pub handled: usize,
    /// How many had been handled before, and have not come back so far.
    pub republished: usize,
    /// How many came back.
    pub came_back: usize,
}

impl Report {
    /// The exit code of the command.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &self.stop {
            Some(Stop::Interrupted) => 130,
            Some(Stop::NotPublished(_)) => 1,
            Some(Stop::Canary) => 3,
            _ if !self.came_back.is_empty() => 4,
            _ if !self.pending.is_empty() => 5,
            _ => 0,
        }
    }
}

/// Replays letters that the desk holds, each to its own service. `told` hears of the progress.
///
/// The letters are those of the call: a letter that comes back is only counted. A letter is acknowledged after Pub/Sub has
/// given the id of its replay. So a process that dies leaves each letter in its holder, or has it replayed.
pub async fn replay(
    desk: &mut Desk,
    letters: Vec<Letter>,
    id: &str,
    options: Options,
    mut told: impl FnMut(&Told),
) -> Report {
    let mut run = Run {
        report: Report { replay: id.to_owned(), ..Report::default() },
        open: Vec::new(),
        again: Vec::new(),
        services: BTreeSet::new(),
        came: BTreeMap::new(),
    };
    let mut rest = VecDeque::from(letters);
    let mut size = options.canary.max(1);
    let mut is_canary = true;
    while !rest.is_empty() && run.report.stop.is_none() {
        let batch: Vec<Letter> = rest.drain(..size.min(rest.len())).collect();
        let Report { handled, republished, .. } = run.report;
        let came_back = run.report.came_back.len();
        let mut now =
            Told { is_canary, size: batch.len(), published: 0, handled: 0, republished: 0, came_back: 0 };
        let progress = progress_of(desk, &batch).await;
        for (letter, progress) in batch.into_iter().zip(progress) {
            if desk.is_stopped() {
                run.report.stop.get_or_insert(Stop::Interrupted);
            }
            if run.report.stop.is_some() {
                run.report.unsent += 1;
                continue;
            }
            run.send(desk, letter, progress).await;
            now.published += usize::from(run.report.stop.is_none());
            told(&now);
            desk.wait(options.pause).await;
        }
        run.decide(desk, options.wait, |report| {
            now.handled = report.handled - handled;
            now.republished = report.republished - republished;
            now.came_back = report.came_back.len() - came_back;
            told(&now);
        })
        .await;
        let came_back = run.report.came_back.len();
        if run.report.stop.is_none() {
            if desk.is_stopped() && !(rest.is_empty() && run.open.is_empty()) {
                run.report.stop = Some(Stop::Interrupted);
            } else if is_canary && came_back > 0 {
                run.report.stop = Some(Stop::Canary);
            } else if rest.is_empty() {
                break;
            } else if came_back + run.open.len() > options.max_failures || is_canary && !run.open.is_empty() {
                run.report.stop = Some(Stop::Failures);
            }
        }
        is_canary = false;
        size = (size * 10).min(LARGEST_BATCH.max(options.canary));
    }
    let Run { mut report, open, .. } = run;
    report.unsent += rest.len();
    report.pending = open.into_iter().map(|letter| letter.id).collect();
    report
}

struct Run {
    report: Report,
    /// Published letters without a verdict.
    open: Vec<Letter>,
    /// Published letters whose service had handled them before, so their receipt is no verdict.
    again: Vec<Letter>,
    /// The services that letters were replayed to.
    services: BTreeSet<String>,
    /// New letters of this replay: their ids and reasons, by service and receipt.
    came: BTreeMap<(String, String), (String, String)>,
}

impl Run {
    /// Publishes a letter. `progress` is how far the service has come before.
    async fn send(&mut self, desk: &mut Desk, letter: Letter, progress: Result<Progress, String>) {
        // `plan` has sorted out the others.
        let Some(message) = letter.replayed(&self.report.replay) else {
            self.report.unsent += 1;
            return;
        };
        let progress = match progress {
            Ok(progress) => progress,
            // Without it, a later look at the receipt would be no verdict.
            Err(error) => {
                self.report.unsent += 1;
                let stop = format!("the receipt of letter {} cannot be read: {error}", letter.id);
                self.report.stop = Some(Stop::NotPublished(stop));
                return;
            }
        };
        if let Err(error) = desk.publish(message).await {
            self.report.unsent += 1;
            self.report.stop = Some(Stop::NotPublished(error.to_string()));
            return;
        }
        if let Err(error) = desk.remove(&[&letter]).await {
            self.report.trouble = Some(error.to_string());
            self.report.not_removed.push(letter.id.clone());
        }
        self.services.insert(letter.service.clone());
        match progress {
            Progress::Handled => self.again.push(letter),
            Progress::None | Progress::Claimed { .. } => self.open.push(letter),
        }
    }

    /// Waits until all published letters have a verdict, at most for this time. Letters that were handled before have
    /// none: the wait lets them come back.
    async fn decide(&mut self, desk: &mut Desk, wait: Duration, mut told: impl FnMut(&Report)) {
        let began = Instant::now();
        let (until, return_until) = (began + wait, began + wait.min(RETURN_WAIT));
        let mut pause = Duration::from_millis(100);
        loop {
            self.look(desk).await;
            let now = Instant::now();
            let is_over = now >= until || desk.is_stopped();
            if now >= return_until || is_over {
                self.report.republished += std::mem::take(&mut self.again).len();
            }
            told(&self.report);
            if self.open.is_empty() && self.again.is_empty() || is_over {
                return;
            }
            desk.wait(pause.min(until.saturating_duration_since(now))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A receipt decides, unless it was there before the replay. A new letter decides only without one: the receipt is
    /// read after it.
    async fn look(&mut self, desk: &mut Desk) {
        for service in self.services.clone() {
            let mut arrivals = Vec::new();
            if let Err(error) = desk.arrivals(&service, &mut arrivals).await {
                self.report.trouble = Some(error.to_string());
            }
            for letter in arrivals.into_iter().filter(|new| new.replay.as_ref() == Some(&self.report.replay))
            {
                if let Ok(target) = letter.target {
                    self.came.insert((letter.service, target.receipt), (letter.id, letter.reason));
                }
            }
        }
        for letter in std::mem::take(&mut self.again) {
            match self.came_back(&letter) {
                Some(came_back) => self.report.came_back.push(came_back),
                None => self.again.push(letter),
            }
        }
        let open = std::mem::take(&mut self.open);
        let progress = progress_of(desk, &open).await;
        for (letter, progress) in open.into_iter().zip(progress) {
            self.judge(letter, progress);
        }
    }

    fn judge(&mut self, letter: Letter, progress: Result<Progress, String>) {
        match (progress, self.came_back(&letter)) {
            (Ok(Progress::Handled), _) => self.report.handled += 1,
            (Ok(_), Some(came_back)) => self.report.came_back.push(came_back),
            (Ok(_), None) => self.open.push(letter),
            (Err(error), _) => {
                self.report.trouble = Some(error);
                self.open.push(letter);
            }
        }
    }

    fn came_back(&self, letter: &Letter) -> Option<CameBack> {
        let receipt = letter.target.as_ref().ok()?.receipt.clone();
        let (as_letter, reason) = self.came.get(&(letter.service.clone(), receipt))?.clone();
        Some(CameBack { letter: letter.id.clone(), as_letter, reason })
    }
}
