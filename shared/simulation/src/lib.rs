//! A world in memory in which, from a seed, everything goes wrong that can: messages come twice,
//! late and out of order, acks and answers get lost, the store fails, and processes die at any step
//! of their input and output. For tests.
//!
//! The clock is tokio's, paused: an hour passes in milliseconds, and the same seed gives the same
//! run to the last step.

mod broker;
mod faults;
mod world;

pub use faults::Counts;
pub use world::{Answer, World};

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use pushbox::{Ports, System};

/// A story that is told in every world. An error says what did not hold.
pub trait Scenario: Sync {
    /// The systems under test, started with these ports.
    fn systems(ports: &Ports) -> Vec<System>;

    /// What happens, and what must be so when it has settled.
    fn play(&self, world: World) -> impl Future<Output = Result<(), String>>;
}

/// Plays the scenario with many seeds, on all cores: `SIMULATION_SEEDS` of them (2,000 if unset), or
/// the one of `SIMULATION_SEED`. Returns what went wrong in all of these worlds together.
///
/// # Panics
/// When one of them fails, with its seed.
pub fn check<S: Scenario>(scenario: &S) -> Counts {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seeds: Range<u64> = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(2_000),
    };
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let played: Vec<Counts> = std::thread::scope(|scope| {
        let worker = || {
            let mut counts = Counts::default();
            while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end)
            {
                match play(scenario, seed) {
                    Ok((seen, _)) => counts.add(&seen),
                    Err(error) => {
                        // Nobody needs the others once one has failed.
                        next.store(seeds.end, Ordering::Relaxed);
                        panic!("seed {seed}: {error}\nto see it again, set SIMULATION_SEED={seed}");
                    }
                }
            }
            counts
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a seed failed: see above")).collect()
    });
    let mut counts = Counts::default();
    played.iter().for_each(|seen| counts.add(seen));
    counts
}

/// Plays the scenario with one seed. Returns what went wrong in that world, and every step that was
/// taken in it.
///
/// # Errors
/// What did not hold.
pub fn play<S: Scenario>(scenario: &S, seed: u64) -> Result<(Counts, Vec<String>), String> {
    // Back-off, tokens and trace ids come from this generator.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let played = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let world = World::new(seed, S::systems);
            scenario.play(world.clone()).await.map(|()| world.history())
        })
    }));
    played.unwrap_or_else(|_| Err("it panicked: see above".to_owned()))
}
