//! Mails by SMTP ([RFC 5321](https://www.rfc-editor.org/rfc/rfc5321)).

use std::{
    error::Error as _,
    io, iter,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lettre::{
    Address,
    message::Mailbox,
    transport::smtp::{
        Error,
        client::AsyncSmtpConnection,
        commands::{Data, Mail as MailFrom, Rcpt},
        extension::{Extension, MailParameter},
        response::{Response, Severity},
    },
};
use pushbox::Failure;
use tokio::time::timeout;

use super::{Mail, Sent, message, relay::Relay};
use crate::{CALL_DEADLINE, Misconfigured};

/// Servers close what is idle for longer, some of them without a word.
const MAX_IDLE: Duration = Duration::from_secs(30);
const MAX_IDLE_CONNECTIONS: usize = 4;

pub(super) struct Smtp {
    relay: Relay,
    from: Mailbox,
    /// Connections on which the last mail went well. Not lettre's own pool: that takes back a
    /// connection whose mail was cancelled halfway, and the next mail reads replies to the last.
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl Smtp {
    pub(super) fn new(url: &str, from: &str) -> Result<Self, Misconfigured> {
        let malformed = |problem| Misconfigured {
            variable: "MAIL_FROM",
            problem,
            meaning: "the sender of all mails",
            example: "Shop <hello@example.com>",
        };
        let from: Mailbox = from.parse().map_err(|_| malformed("it is not an e-mail address"))?;
        if !from.email.to_string().is_ascii() {
            return Err(malformed("not every mail server takes an address beyond ASCII"));
        }
        Ok(Self { relay: Relay::parse(url)?, from, idle: Mutex::default() })
    }

    pub(super) async fn send(&self, mail: &Mail, key: &str) -> Result<Sent, Failure> {
        let to = message::recipient(mail)?;
        let message = message::compose(&self.from, to.clone(), mail, key)?;
        let ended = AtomicBool::new(false);
        match timeout(CALL_DEADLINE, self.transmit(to, &message, &ended)).await {
            Ok(sent) => sent,
            Err(_) if ended.into_inner() => Ok(Sent::Unknown),
            Err(_) => Err(Failure::Retry("the mail server did not answer in time".to_owned())),
        }
    }

    /// Sets `ended` before it writes the dot that ends the message: until then the server has queued
    /// nothing, and from then on only its reply tells whether it has.
    async fn transmit(&self, to: Address, message: &[u8], ended: &AtomicBool) -> Result<Sent, Failure> {
        let mut connection = match self.idle().await {
            Some(connection) => connection,
            None => self.relay.connect().await.map_err(|error| retry("connecting", &error))?,
        };
        let knows_unicode = connection.server_info().supports_feature(Extension::SmtpUtfEight);
        let parameters = match to.to_string().is_ascii() {
            true => Vec::new(),
            false if knows_unicode => vec![MailParameter::SmtpUtfEight],
            false => return Ok(Sent::Refused { reason: "the server takes no SMTPUTF8 address".to_owned() }),
        };
        let sender = MailFrom::new(Some(self.from.email.clone()), parameters);
        connection.command(sender).await.map_err(|error| retry("naming the sender", &error))?;
        match offer(&mut connection, to, message, ended).await {
            Ok(reply) if reply.code().severity == Severity::PositiveCompletion => {
                let mut idle = self.lock();
                if idle.len() < MAX_IDLE_CONNECTIONS {
                    idle.push((connection, Instant::now()));
                }
                Ok(Sent::Accepted)
            }
            Ok(_) => Ok(Sent::Unknown),
            Err(error) if is_about_the_mail(&error) => {
                Ok(Sent::Refused { reason: format!("the server answered {}", describe(&error)) })
            }
            // A reply that says no, for now at least, is an answer; anything else is none.
            Err(error) if error.status().is_none() && ended.load(Ordering::Relaxed) => Ok(Sent::Unknown),
            Err(error) => Err(retry("offering the mail", &error)),
        }
    }

    /// An idle connection that still works.
    async fn idle(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let (mut connection, since) = self.lock().pop()?;
            let works = timeout(Duration::from_secs(1), connection.test_connected());
            if since.elapsed() < MAX_IDLE && works.await == Ok(true) {
                return Some(connection);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(AsyncSmtpConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn offer(
    connection: &mut AsyncSmtpConnection,
    to: Address,
    message: &[u8],
    ended: &AtomicBool,
) -> Result<Response, Error> {
    connection.command(Rcpt::new(to, Vec::new())).await?;
    connection.command(Data).await?;
    // lettre writes the dot when there are no more parts, and asks for one only after it has written
    // the last.
    let end = iter::from_fn(|| {
        ended.store(true, Ordering::Relaxed);
        None
    });
    connection.message_iter(iter::once(message).chain(end)).await
}

/// Whether the server will never take this mail, whoever offers it. Else it is about us, and some
/// mails could be lost until somebody mends it: credentials, the protocol (50x), our address
/// (X.1.7, X.1.8), policy such as "relay access denied" (X.7.x).
/// <https://www.iana.org/assignments/smtp-enhanced-status-codes>
fn is_about_the_mail(error: &Error) -> bool {
    let is_about_us = match error.status().map(u16::from) {
        Some(500..=504 | 530 | 534 | 535 | 538) => true,
        _ => enhanced_code(error).is_some_and(|code| {
            let (_, detail) = code.split_once('.').unwrap_or_default();
            detail == "1.7" || detail == "1.8" || detail.starts_with("7.")
        }),
    };
    error.is_permanent() && !is_about_us
}

fn retry(doing: &str, error: &Error) -> Failure {
    Failure::Retry(format!("the mail server failed while {doing}: {}", describe(error)))
}

/// What went wrong, without the server's words: they often repeat an address.
fn describe(error: &Error) -> String {
    match (error.status(), enhanced_code(error)) {
        (Some(code), Some(enhanced)) => format!("{code} {enhanced}"),
        (Some(code), None) => code.to_string(),
        (None, _) if error.is_response() => "a reply that is not SMTP".to_owned(),
        // Said by this side, or by TLS.
        (None, _) if error.is_client() || error.is_tls() => error.to_string(),
        (None, _) => {
            let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            cause.map_or_else(|| "no connection".to_owned(), |cause| cause.kind().to_string())
        }
    }
}

/// The code that begins a reply's text, such as `5.1.1`.
fn enhanced_code(error: &Error) -> Option<String> {
    error.status()?;
    let text = error.source()?.to_string();
    let code = text.split_whitespace().next()?;
    let is_code = code.split('.').count() == 3
        && code
            .split('.')
            .all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
    is_code.then(|| code.to_owned())
}
