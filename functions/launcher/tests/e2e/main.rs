//! The systems end to end: each service is a process, on Google's emulators.
//!
//! `scripts/emulators -- cargo test --workspace --test e2e`

mod emulators;
#[path = "../harness/mod.rs"]
mod harness;
mod outcome;
mod world;

mod console;
mod crashes;
mod dead_letters;
mod duplicates;
mod logs;
mod outages;
mod poison;
mod readme;
mod shop;
mod shutdown;
mod stand_ins;
mod ticketing;
