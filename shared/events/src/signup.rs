//! The signup system, topic `user-events`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EmailAddress, PersonName, UserId, events};

events! {
    UserCreated = "user.created" on "user-events";
}

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
