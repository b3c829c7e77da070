//! `functions keys`: makes the keys that sign access tokens.

use clap::Subcommand;
use pushbox::AccessTokens;
use serde_json::Value;
use ticketing::SigningKey;

use crate::terminal::print;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prints a new pair: AUTH_SIGNING_KEY, which is a secret, and AUTH_JWKS
    New {
        /// The current AUTH_JWKS; the new public key is added to its keys
        #[arg(long, value_name = "JWKS")]
        beside: Option<String>,
    },
}

pub(crate) fn run(command: &Command) -> Result<(), String> {
    let Command::New { beside } = command;
    let key = SigningKey::generate()?;
    let mut keys = match beside {
        Some(jwks) => current(jwks)?,
        None => Vec::new(),
    };
    keys.push(key.public_key());
    let public = serde_json::json!({ "keys": keys });
    print(&format!("AUTH_SIGNING_KEY='{}'\nAUTH_JWKS='{public}'\n", key.private_key()))
}

/// The keys of a set that every service accepts.
fn current(jwks: &str) -> Result<Vec<Value>, String> {
    let tokens =
        AccessTokens::new("", ticketing::NAME, jwks).map_err(|reason| format!("--beside: {reason}"))?;
    let keys = tokens.public_keys().and_then(|set| set["keys"].as_array());
    Ok(keys.cloned().unwrap_or_default())
}
