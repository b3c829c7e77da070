//! The signup system, topic `user-events`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EmailAddress, Event, PersonName, UserId};

/// A person signed up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    /// Who.
    pub user_id: UserId,
    /// Where to write to.
    pub email: EmailAddress,
    /// How to address them.
    pub name: PersonName,
}

impl Event for UserCreated {
    const TYPE: &'static str = "user.created";
    const TOPIC: &'static str = "user-events";
}
