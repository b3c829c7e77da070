//! Worlds in memory in which everything goes wrong that can: messages come twice, late and out of
//! order, answers get lost, calls take seconds, clocks differ, callers hang up, the store refuses,
//! and processes die at any step of their input and output. For tests.
//!
//! | file | what |
//! |---|---|
//! | `faults` | what can go wrong at which step |
//! | `choice` | what goes wrong in this world: from a seed, or from a script |
//! | `wire` | what a process reaches the world through |
//! | `outside` | the outside world, which counts every call that reaches it |
//! | `world` | processes, the broker's deliveries, and what a caller can do |
//! | `ledger` | what has happened in a world |
//! | `checks` | the rules that hold in every world once it has settled |
//! | `random` | plays many seeds: [`check`] |
//! | `explore` | plays every world of a bounded size: [`explore`](explore()) |
//!
//! The broker is the local stack's, [`local::broker::Topics`]. The clock is tokio's, paused: an hour
//! passes in milliseconds, and the same seed gives the same run to the last step.

mod checks;
mod choice;
mod explore;
mod faults;
mod ledger;
mod outside;
mod random;
mod wire;
mod world;

pub use explore::{Input, explore};
pub use faults::{Counts, Fault, Step};
pub use outside::{NoAnswer, Outside, Repeats};
pub use random::{check, play};
pub use world::{Answer, World};

use pushbox::{Ports, System};

/// A story that is told in every world. An error is the rule that was broken, a colon, and how.
pub trait Scenario: Sync {
    /// Personal data of the story: no log line and no reason of a dead letter may contain it.
    const PERSONAL: &'static [&'static str];

    /// The systems under test, started with these ports and this outside world.
    fn systems(ports: &Ports, outside: &Outside) -> Vec<System>;

    /// What happens, and what must be so when it has settled.
    fn play(&self, world: World) -> impl Future<Output = Result<(), String>>;
}
