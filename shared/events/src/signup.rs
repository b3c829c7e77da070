//! Events of the signup system, on the topic `user-events`.

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
    /// The id of the new user.
    pub user_id: UserId,
    /// The e-mail address of the user.
    pub email: EmailAddress,
    /// The name of the user.
    pub name: PersonName,
}
