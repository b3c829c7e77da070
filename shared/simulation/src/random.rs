//! Plays many seeds.

use std::{
    collections::BTreeMap,
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use catalog::Catalog;
use jiff::Timestamp;
use pushbox::Timing;

use crate::{Counts, Scenario, World, checks::Heard, choice::Choice, faults::Step, world::Systems};

/// Twenty seconds before 1970, so that a year ends in each world.
const START: Timestamp = Timestamp::constant(-20, 0);

/// How many worlds of a scenario are played, unless a variable sets another number.
pub const SEEDS: u64 = 1_000;

const PROGRESS: Duration = Duration::from_secs(10);

/// For each broken rule: the number of worlds, the first seed, and how it was broken.
type Broken = BTreeMap<String, (u64, u64, String)>;

/// Plays the scenario with many seeds, on all cores. Returns the counts of all worlds.
///
/// | variable | meaning |
/// |---|---|
/// | `SIMULATION_SEED` | play only this seed; if a rule is broken, print every step |
/// | `SIMULATION_FROM` | the first seed; 0 if unset |
/// | `SIMULATION_SEEDS` | the number of seeds; [`SEEDS`] if unset |
/// | `SIMULATION_MINUTES` | play seed after seed for this time, and ignore `SIMULATION_SEEDS` |
///
/// # Panics
/// If a rule is broken in a world. The message names each broken rule with its first seed.
pub fn check<S: Scenario>(scenario: &S) -> Counts {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let (seed, minutes) = (number("SIMULATION_SEED"), number("SIMULATION_MINUTES"));
    let first = seed.or_else(|| number("SIMULATION_FROM")).unwrap_or(0);
    let seeds = match (seed, minutes) {
        (Some(_), _) => 1,
        (None, Some(_)) => u64::MAX - first,
        (None, None) => number("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let time_limit = minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let began = Instant::now();
    let has_time = || time_limit.is_none_or(|limit| began.elapsed() < limit);

    let player = Player::new(scenario);
    let next = AtomicU64::new(first);
    let total = Mutex::new((Counts::default(), Broken::new(), Instant::now()));
    let worker = || {
        while has_time() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - first >= seeds {
                break;
            }
            let (counts, result, history) = player.play(seed);
            if result.is_err() && seeds == 1 {
                println!("{}", history.join("\n"));
            }
            let (all, broken, said) = &mut *total.lock().unwrap_or_else(PoisonError::into_inner);
            all.add(&counts);
            if let Err(error) = result {
                note(broken, seed, error);
            }
            if said.elapsed() >= PROGRESS {
                *said = Instant::now();
                let rate = all.worlds as f64 / began.elapsed().as_secs_f64();
                println!("{} worlds, {rate:.0} a second, {} rules broken", all.worlds, broken.len());
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(worker))));
    let (counts, broken, _) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let rate = counts.worlds as f64 / began.elapsed().as_secs_f64();
    println!("{} worlds, {rate:.0} a second: {counts:?}", counts.worlds);
    let broken: Vec<String> = broken
        .iter()
        .map(|(rule, (worlds, seed, how))| {
            format!("{worlds} worlds, first with SIMULATION_SEED={seed}: {rule}:{how}")
        })
        .collect();
    assert!(broken.is_empty(), "{} rules were broken:\n{}", broken.len(), broken.join("\n"));
    counts
}

/// In a quarter of the worlds, each message has failed so often before that its next failure makes it a dead letter.
fn earlier_failures(seed: u64) -> u32 {
    if seed % 4 == 3 { Timing::DEFAULT.gives_up_at() - 1 } else { 0 }
}

fn note(broken: &mut Broken, seed: u64, error: String) {
    let (rule, how) = error.split_once(':').unwrap_or((&error, ""));
    let entry = broken.entry(rule.to_owned()).or_insert_with(|| {
        println!("SIMULATION_SEED={seed}: {error}");
        (0, seed, how.to_owned())
    });
    entry.0 += 1;
    if seed < entry.1 {
        (entry.1, entry.2) = (seed, how.to_owned());
    }
}

/// Plays the scenario with one seed. Returns the counts, and a description of every step.
///
/// # Errors
/// The rule that was broken, a colon, and how.
pub fn play<S: Scenario>(scenario: &S, seed: u64) -> Result<(Counts, Vec<String>), String> {
    let (counts, result, history) = Player::new(scenario).play(seed);
    result.map(|()| (counts, history))
}

struct Player<'a, S> {
    scenario: &'a S,
    catalog: Arc<Catalog>,
    /// The number of steps of each kind in a world without faults.
    usual: [usize; Step::ALL.len()],
}

impl<'a, S: Scenario> Player<'a, S> {
    fn new(scenario: &'a S) -> Self {
        let catalog = in_paused_time(async { World::catalog_of(Systems::of::<S>()) });
        let mut player = Self { scenario, catalog: Arc::new(catalog), usual: [0; Step::ALL.len()] };
        let mut usual = player.usual;
        let counted = player.run(0, 0, Choice::script(&[], None, false), |world| {
            world.shared().choice.steps().iter().for_each(|taken| usual[taken.step as usize] += 1);
        });
        if let Err(error) = counted {
            println!("without faults: {error}");
        }
        player.usual = usual;
        player
    }

    fn play(&self, seed: u64) -> (Counts, Result<(), String>, Vec<String>) {
        let (mut counts, mut history) = (Counts::default(), Vec::new());
        let result = self.run(seed, earlier_failures(seed), Choice::random(seed, self.usual), |world| {
            (counts, history) = (world.counts(), world.history());
        });
        (counts, result, history)
    }

    fn run(
        &self,
        seed: u64,
        earlier_failures: u32,
        choice: Choice,
        look: impl FnOnce(&World),
    ) -> Result<(), String> {
        // Backoff, tokens and trace ids come from this generator.
        fastrand::seed(seed);
        let heard = Heard::new(S::PERSONAL);
        let _listening = heard.listen();
        let played = catch_unwind(AssertUnwindSafe(|| {
            in_paused_time(async {
                let (catalog, systems) = (self.catalog.clone(), Systems::of::<S>());
                let world = World::new(choice, START, catalog, systems, heard, earlier_failures);
                tokio::spawn(world.clone().deliver_all());
                tokio::spawn(world.clone().fire_all());
                tokio::spawn(world.clone().schedule_relays());
                let result = self.scenario.play(world.clone()).await;
                look(&world);
                result
            })
        }));
        played.unwrap_or_else(|_| Err("nothing panics: see above".to_owned()))
    }
}

/// Runs a future on its own runtime, whose time passes only when all tasks wait.
pub(crate) fn in_paused_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run)
}
