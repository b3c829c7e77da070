//! Passwords: which ones are allowed, and how they are stored.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use events::EmailAddress;
use pushbox::{Failure, Problem, Random};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

/// Counted in characters. There is no rule about their kinds.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=128;

/// One word or password a line, in lower case.
const COMMON: &str = include_str!("common_passwords.txt");

/// A listed word with at most this many digits and symbols around it is as common as the word.
const MOST_ADDED: usize = 6;

/// A caller who gets no place waits for about as long as the places need.
const PAUSE_SECONDS: u64 = 2;

/// The cost of a password's hash, and how many are computed at a time.
#[derive(Clone, Copy, Debug)]
pub struct Hashing {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// The number of hashes that are computed at the same time. Each needs its memory and one core.
    pub threads: usize,
    /// The number of requests that compute a hash or wait for a thread. The next one gets 503.
    pub places: usize,
}

impl Hashing {
    /// The cost that
    /// [OWASP](https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html) recommends.
    pub const OWASP: Self = Self { memory_kib: 19_456, passes: 2, threads: 2, places: 16 };
}

/// A password that was parsed from a request. `Debug` is missing on purpose.
pub(super) struct Password(pub(super) String);

/// A stored password: Argon2id with its parameters.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PasswordHash {
    memory_kib: u32,
    passes: u32,
    salt: String,
    hash: String,
}

/// Computes hashes on threads of their own, a few at a time, so that sign-ins can exhaust neither the memory
/// nor the cores of an instance.
pub(super) struct Hasher {
    hashing: Hashing,
    random: Random,
    places: Arc<Semaphore>,
    threads: Arc<Semaphore>,
}

/// The right to compute one hash.
pub(super) struct Place<'a> {
    hasher: &'a Hasher,
    permit: OwnedSemaphorePermit,
}

/// Why a new password is refused.
pub(super) fn objection(password: &str, email: Option<&EmailAddress>) -> Option<String> {
    let (shortest, longest) = LENGTHS.into_inner();
    let length = password.chars().count();
    if length < shortest {
        return Some(format!("a password has at least {shortest} characters, and 15 are better"));
    }
    if length > longest {
        return Some(format!("a password has at most {longest} characters"));
    }
    let lower = password.to_lowercase();
    let is_address = email.is_some_and(|email| {
        let local = email.as_str().split('@').next().unwrap_or_default();
        lower == email.as_str() || lower == local
    });
    if is_address {
        return Some("a password must not be your e-mail address".to_owned());
    }
    is_common(&lower)
        .then(|| "this password is one of the most common ones; please choose another one".to_owned())
}

/// Whether a password in lower case is in the list, also with digits and symbols before or after it, or is one
/// character or one short pattern repeated.
fn is_common(lower: &str) -> bool {
    let characters: Vec<char> = lower.chars().collect();
    let repeats = |length: usize| characters.iter().zip(&characters[length..]).all(|(a, b)| a == b);
    let word = lower.trim_matches(|c: char| !c.is_alphabetic());
    let added = characters.len() - word.chars().count();
    let is_listed = |wanted: &str| COMMON.lines().any(|common| !common.starts_with('#') && common == wanted);
    (1..=4).any(|length| length < characters.len() && repeats(length))
        || is_listed(lower)
        || (added <= MOST_ADDED && is_listed(word))
}

impl Hasher {
    pub(super) fn new(hashing: Hashing, random: Random) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { hashing, random, places: semaphore(hashing.places), threads: semaphore(hashing.threads) }
    }

    /// A place, before the attempt is counted.
    pub(super) fn place(&self) -> Result<Place<'_>, Problem> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let detail = "Too many people are signing in just now. Please try again.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(PAUSE_SECONDS)
        })?;
        Ok(Place { hasher: self, permit })
    }
}

impl Place<'_> {
    /// Hashes a new password.
    pub(super) async fn hash(self, password: Password) -> Result<PasswordHash, Failure> {
        let Hashing { memory_kib, passes, .. } = self.hasher.hashing;
        let salt = self.hasher.random.nonce();
        let new = PasswordHash { memory_kib, passes, salt, hash: String::new() };
        self.compute(new, password).await
    }

    /// Whether it is the password of the account. Without an account it takes the same time.
    pub(super) async fn verify(
        self,
        password: Password,
        stored: Option<PasswordHash>,
    ) -> Result<bool, Failure> {
        let Hashing { memory_kib, passes, .. } = self.hasher.hashing;
        let expected = stored.unwrap_or_else(|| PasswordHash {
            memory_kib,
            passes,
            salt: self.hasher.random.nonce(),
            hash: String::new(),
        });
        let found = self.compute(expected.clone(), password).await?;
        Ok(verify_slices_are_equal(found.hash.as_bytes(), expected.hash.as_bytes()).is_ok())
    }

    /// The hash with these parameters. The thread keeps the place until it has ended, even if the caller
    /// hangs up.
    async fn compute(self, parameters: PasswordHash, password: Password) -> Result<PasswordHash, Failure> {
        let thread = Arc::clone(&self.hasher.threads).acquire_owned().await?;
        let place = self.permit;
        let computed = spawn_blocking(move || {
            let _permits = (place, thread);
            let PasswordHash { memory_kib, passes, salt, .. } = parameters;
            let cost = Params::new(memory_kib, passes, 1, None)?;
            let mut hash = [0; 32];
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost);
            argon2.hash_password_into(password.0.as_bytes(), salt.as_bytes(), &mut hash)?;
            let hash = STANDARD_NO_PAD.encode(hash);
            Ok::<_, argon2::Error>(PasswordHash { memory_kib, passes, salt, hash })
        });
        computed.await?.map_err(|error| Failure::Retry(format!("a password cannot be hashed: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn refuses_short_common_and_personal_passwords_only() {
        let email: EmailAddress = "lovelace@example.com".parse().expect("an address");
        let longest = "x1".repeat(32) + &"y2".repeat(32);
        for (password, is_allowed) in [
            ("Xq7vLmw", false),
            ("Xq7vLmwz", true),
            ("correct horse battery staple", true),
            ("пароль с пробелами", true),
            ("🦀🦀🐢🐢🦊🦊🐙", false),
            ("🦀🐢🦊🐙🦀🐢🐙🦊", true),
            (&longest, true),
            (&format!("{longest}z"), false),
            ("aaaaaaaaaaaa", false),
            ("abcabcabcabc", false),
            ("password", false),
            ("PassWord1", false),
            ("qwertyuiop", false),
            ("Summer2026!", false),
            ("!dragon77!", false),
            ("summer-in-Odessa-1986", true),
            ("Lovelace", false),
            ("lovelace@example.com", false),
            ("# one password a line", true),
        ] {
            assert_eq!(objection(password, Some(&email)).is_none(), is_allowed, "{password}");
        }
    }

    #[test]
    fn each_line_of_the_list_can_match() {
        let listed: Vec<&str> = COMMON.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(listed.len() > 1_000, "{}", listed.len());
        assert!(listed.is_sorted_by(|a, b| a < b), "sorted, and each once");
        for line in listed {
            assert!(*line == line.to_lowercase() && *line == *line.trim(), "{line:?}");
        }
    }

    /// An attacker could otherwise tell the addresses that have an account.
    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_wrong_password() {
        let hasher = Hasher::new(Hashing::OWASP, Random::system());
        let password = |text: &str| Password(text.to_owned());
        let stored = hasher.place().expect("a place").hash(password("Xq7vLmwz")).await.expect("a hash");
        let shortest = async |stored: Option<PasswordHash>| {
            let mut shortest = Duration::MAX;
            for _ in 0..5 {
                let began = Instant::now();
                let place = hasher.place().expect("a place");
                assert!(!place.verify(password("wrong"), stored.clone()).await.expect("an answer"));
                shortest = shortest.min(began.elapsed());
            }
            shortest
        };
        let (wrong, unknown) = (shortest(Some(stored.clone())).await, shortest(None).await);
        assert!(unknown * 3 > wrong && wrong * 3 > unknown, "unknown {unknown:?}, wrong {wrong:?}");
        assert!(
            hasher
                .place()
                .expect("a place")
                .verify(password("Xq7vLmwz"), Some(stored))
                .await
                .expect("an answer")
        );
    }

    #[tokio::test]
    async fn a_place_is_taken_until_the_hash_is_computed() {
        let hasher = Hasher::new(Hashing { places: 1, ..Hashing::OWASP }, Random::system());
        let first = hasher.place().expect("a place");
        assert!(hasher.place().is_err());
        first.hash(Password("Xq7vLmwz".to_owned())).await.expect("a hash");
        assert!(hasher.place().is_ok());
    }
}
