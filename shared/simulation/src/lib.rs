//! Plays services in simulated worlds, for tests. Messages arrive twice, late and out of order.
//! Answers get lost, calls take seconds, clocks differ, callers hang up, and the store refuses
//! commits. Processes die at any step of their input and output.
//!
//! | file | contents |
//! |---|---|
//! | `faults` | the faults, and the steps at which they can happen |
//! | `choice` | the faults of one world: from a seed, or from a script |
//! | `wire` | a process's connection to its world |
//! | `outside` | the outside world, which counts every call that reaches it |
//! | `world` | processes, the broker's deliveries, and the actions of a caller |
//! | `operator` | a person who replays dead letters |
//! | `ledger` | the record of a world |
//! | `checks` | the rules that hold in every settled world |
//! | `random` | plays many seeds: [`check`] |
//! | `delay` | the rules about failed and late deliveries in a small world |
//! | `explore` | plays every world of a bounded size: [`explore`](explore()) |
//!
//! The broker is the local stack's, [`local::broker::Topics`]. The clock is tokio's paused clock:
//! an hour passes in milliseconds, and the same seed gives the same run, step by step.

mod checks;
mod choice;
mod delay;
mod explore;
mod faults;
mod ledger;
mod operator;
mod outside;
mod random;
mod wire;
mod world;

pub use explore::{EXPLORED_FROM, Input, explore};
pub use faults::{Counts, Fault, Step};
pub use outside::{NoAnswer, Outside, Repeats};
pub use random::{SEEDS, check, play};
pub use world::{Answer, World};

use pushbox::{AccessTokens, Ports, System};

/// A world makes and drops many small values. With this allocator, it takes three quarters of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The actions and rules of a test. An error is the rule that was broken, a colon, and how.
pub trait Scenario: Sync {
    /// The scenario's personal data. No log line and no reason of a dead letter may contain it.
    const PERSONAL: &'static [&'static str];

    /// The systems under test, started with these ports and this outside world.
    fn systems(ports: &Ports, outside: &Outside) -> Vec<System>;

    /// Whose access tokens the services accept. By default they accept none.
    fn access_tokens() -> AccessTokens {
        AccessTokens::none()
    }

    /// Acts on the world, lets it settle, and checks the result.
    fn play(&self, world: World) -> impl Future<Output = Result<(), String>>;
}
