//! Dead letters: a person lists them, replays them to exactly the service that failed, or drops them.
//!
//! | file | contents |
//! |---|---|
//! | `letter` | a dead letter, its code and reason, and the message that replays it |
//! | `masking` | what a letter shows without its values |
//! | `groups` | letters that have the same cause, and the choice of letters |
//! | `desk` | the leases on the letters of all services |
//! | `plan` | what a replay would do, and what a person should know before it |
//! | `replay` | the replay: canary, ramp, verdict |
//! | `removal` | the removal of letters after an export |
//! | `receipts` | how far a service has come with an event |
//! | `local_stack` | the time and the receipts of a local stack |
//! | `subscriber`, `rest` | the port to the holders, and Pub/Sub's REST API |
//! | `backlog` | how many messages wait, by Cloud Monitoring |
//! | `api` | calls of Google's REST APIs |

mod api;
mod backlog;
mod desk;
mod groups;
mod letter;
mod local_stack;
mod masking;
mod plan;
mod receipts;
mod removal;
mod replay;
mod rest;
mod subscriber;
#[cfg(test)]
mod tests;

pub use api::NoClient;
pub use backlog::{Backlog, Monitoring};
pub use desk::{Desk, MOST_LETTERS, Names};
pub use groups::{Group, Selection, groups};
pub use letter::{Letter, Target, Unreplayable};
pub use local_stack::LocalStack;
pub use plan::{LeftOut, Plan, plan};
pub use receipts::Receipts;
pub use removal::{Removal, drop_letters};
pub use replay::{CameBack, Options, Report, Stop, Told, new_id, replay};
pub use rest::Rest;
pub use subscriber::{CallError, Pulled, Subscriber};
