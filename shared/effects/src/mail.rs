//! Mails, by SMTP or into the local mailbox.

mod connection;
mod effect;
mod history;
mod local_mailbox;
mod message;
mod reply;
mod smtp;

use std::{fmt, sync::Arc};

use events::EmailAddress;
use pushbox::{Clock, Failure, store::Store};
use serde::{Deserialize, Serialize};

pub use effect::{MailCall, MailEffect};
pub use history::{MailDetails, MailRecord, Status, list_mails};
pub use local_mailbox::{LocalMail, mailbox};

use crate::Misconfigured;

/// A mail to one recipient. `Debug` hides all of it, because it is personal data.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// The recipient.
    pub to: EmailAddress,
    /// The subject, one line.
    pub subject: String,
    /// The body for mail programs that show no HTML.
    pub text: String,
    /// The body as HTML.
    pub html: String,
    /// The attached files. With more than about 700 kB of them, a claim or a local mail does not fit
    /// into a [Firestore document](https://firebase.google.com/docs/firestore/quotas).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// A file that is attached to a mail.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The file's name, such as `ticket.pdf`.
    pub name: String,
    /// The media type, such as `application/pdf`. Some gateways remove HTML files, so a mail must make
    /// sense without an attached HTML file.
    pub content_type: String,
    /// The file's content; base64 in JSON.
    #[serde(with = "as_base64")]
    pub content: Vec<u8>,
}

/// The answer of a mail server to a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum Sent {
    /// The server has accepted the mail. The mail may still bounce.
    Accepted,
    /// The server will never accept this mail for this recipient.
    Refused {
        /// The server's reply code. The rest of the reply is left out: it often repeats the address.
        reason: String,
    },
    /// The server had the whole mail, but gave no answer. A second attempt might send the mail twice,
    /// so before that a person asks the recipient or reads the server's log.
    Unknown,
}

/// Sends mails.
#[derive(Clone)]
pub struct Mailer(Arc<Adapter>);

enum Adapter {
    Smtp(smtp::Smtp),
    Local(local_mailbox::LocalMailbox),
}

impl Mailer {
    /// The environment variable of the secret: the URL of the mail server.
    pub const SECRET: &str = "MAIL_URL";

    /// Sends by SMTP. The mailer connects when it sends the first mail, and keeps a few connections.
    ///
    /// `url` is the value of `MAIL_URL`: `smtps://user:password@host` (TLS from the start, port 465)
    /// or `smtp://user:password@host` (STARTTLS, port 587). The user and the password are
    /// percent-encoded. The connection to an `smtp://` server that offers no STARTTLS is not
    /// encrypted. A password is sent without encryption only to this machine itself. `from` is the
    /// value of `MAIL_FROM`: an address, with or without a name.
    ///
    /// SMTP has no idempotency keys, so one effect can send this many mails:
    /// - None before the final dot of the message is sent: an error before the dot is retried.
    /// - At most one if the reply to that dot is missing, late or unreadable. The outcome is
    ///   [`Sent::Unknown`], which is recorded and not retried. A reply that refuses the mail means
    ///   that the mail is not queued, so a temporary refusal (4xx) is retried.
    /// - One more for each process that dies, or is cut off from the store, after it has sent the
    ///   dot and before it has recorded the outcome. All these mails have the same `Message-ID`, so a server
    ///   or a mailbox can drop the repeats.
    ///
    /// # Errors
    /// `url` or `from` is malformed.
    pub fn smtp(url: &str, from: &str) -> Result<Self, Misconfigured> {
        Ok(Self(Arc::new(Adapter::Smtp(smtp::Smtp::new(url, from)?))))
    }

    /// Puts mails into the local mailbox, a fake: see [`mailbox`]. If the store does not say whether
    /// it has kept a mail, the outcome is [`Sent::Unknown`], as with a mail server.
    #[must_use]
    pub fn local(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self(Arc::new(Adapter::Local(local_mailbox::LocalMailbox::new(store, clock))))
    }

    /// Sends a mail within 8 seconds. `key` is the same on every attempt.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the server cannot be reached, is not ready, or refuses the sender rather
    /// than the mail (credentials, sender address, policy). It is never returned after the server may
    /// have accepted the mail. [`Failure::Reject`] if the mail cannot be built.
    pub async fn send(self, mail: Mail, key: String) -> Result<Sent, Failure> {
        match &*self.0 {
            Adapter::Smtp(smtp) => smtp.send(&mail, &key).await,
            Adapter::Local(mailbox) => mailbox.keep(mail, &key).await,
        }
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Adapter::Smtp(_) => "Mailer(smtp)",
            Adapter::Local(_) => "Mailer(local)",
        })
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mail(…)")
    }
}

mod as_base64 {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|_| D::Error::custom("not base64"))
    }
}
