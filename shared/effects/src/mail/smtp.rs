//! Mails by SMTP ([RFC 5321](https://www.rfc-editor.org/rfc/rfc5321)).

use std::{
    iter,
    sync::{
        Mutex, MutexGuard, PoisonError,
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

use super::{
    Mail, Sent,
    connection::Server,
    message,
    reply::{describe, is_about_the_mail, retry},
};
use crate::{CALL_DEADLINE, Misconfigured};

/// Servers close connections that are idle for longer, some of them without notice.
const MAX_IDLE: Duration = Duration::from_secs(30);
const MAX_IDLE_CONNECTIONS: usize = 4;

pub(super) struct Smtp {
    server: Server,
    from: Mailbox,
    /// Connections whose last mail was accepted. lettre's own pool is not used: it takes back a
    /// connection whose mail was cancelled halfway, and the next mail then reads the replies to that
    /// one.
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
        Ok(Self { server: Server::parse(url)?, from, idle: Mutex::default() })
    }

    pub(super) async fn send(&self, mail: &Mail, key: &str) -> Result<Sent, Failure> {
        let to = message::recipient(mail)?;
        let message = message::compose(&self.from, to.clone(), mail, key)?;
        let may_be_queued = AtomicBool::new(false);
        match timeout(CALL_DEADLINE, self.transmit(to, &message, &may_be_queued)).await {
            Ok(sent) => sent,
            Err(_) if may_be_queued.into_inner() => Ok(Sent::Unknown),
            Err(_) => Err(Failure::Retry("the mail server did not answer in time".to_owned())),
        }
    }

    /// Sets `may_be_queued` before it writes the dot that ends the message. Before the dot, the server
    /// has queued nothing. After it, only the server's reply tells whether it has queued the mail.
    async fn transmit(
        &self,
        to: Address,
        message: &[u8],
        may_be_queued: &AtomicBool,
    ) -> Result<Sent, Failure> {
        let mut connection = match self.idle().await {
            Some(connection) => connection,
            None => self.server.connect().await.map_err(|error| retry("connecting", &error))?,
        };
        let knows_unicode = connection.server_info().supports_feature(Extension::SmtpUtfEight);
        let parameters = match to.to_string().is_ascii() {
            true => Vec::new(),
            false if knows_unicode => vec![MailParameter::SmtpUtfEight],
            false => return Ok(Sent::Refused { reason: "the server takes no SMTPUTF8 address".to_owned() }),
        };
        let sender = MailFrom::new(Some(self.from.email.clone()), parameters);
        connection.command(sender).await.map_err(|error| retry("naming the sender", &error))?;
        match offer(&mut connection, to, message, may_be_queued).await {
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
            // An error without a status is no reply, so nobody knows whether the mail is queued. A
            // reply that refuses the mail, even for now, means that it is not queued.
            Err(error) if error.status().is_none() && may_be_queued.load(Ordering::Relaxed) => {
                Ok(Sent::Unknown)
            }
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

    fn lock(&self) -> MutexGuard<'_, Vec<(AsyncSmtpConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn offer(
    connection: &mut AsyncSmtpConnection,
    to: Address,
    message: &[u8],
    may_be_queued: &AtomicBool,
) -> Result<Response, Error> {
    connection.command(Rcpt::new(to, Vec::new())).await?;
    connection.command(Data).await?;
    // lettre asks for the next part only after it has written the one before, and it writes the dot
    // when there is no further part.
    let end = iter::from_fn(|| {
        may_be_queued.store(true, Ordering::Relaxed);
        None
    });
    connection.message_iter(iter::once(message).chain(end)).await
}
