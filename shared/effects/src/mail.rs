//! Mails, by SMTP or into the local mailbox.

mod local_mailbox;
mod message;
mod relay;
mod smtp;

use std::{fmt, sync::Arc};

use events::EmailAddress;
use pushbox::{Clock, Failure, store::Store};
use serde::{Deserialize, Serialize};

pub use local_mailbox::{LocalMail, mailbox};

use crate::Misconfigured;

/// A mail to one recipient. `Debug` hides it all: it is personal data.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// The recipient.
    pub to: EmailAddress,
    /// The subject, one line.
    pub subject: String,
    /// The body for readers that show no HTML.
    pub text: String,
    /// The body as HTML.
    pub html: String,
    /// Files that come along; a claim or a local mail with more than about 700 kB of them does not
    /// fit into a [Firestore document](https://firebase.google.com/docs/firestore/quotas).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// A file in a mail.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The file's name, such as `ticket.pdf`.
    pub name: String,
    /// The media type, such as `application/pdf`. Some gateways strip HTML, so the mail has to make
    /// sense without an attachment of that kind.
    pub content_type: String,
    /// The file; base64 in JSON.
    #[serde(with = "as_base64")]
    pub content: Vec<u8>,
}

/// What a mail server said to a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum Sent {
    /// It takes care of it from here. It may still bounce.
    Accepted,
    /// It will never take this mail to this recipient.
    Refused {
        /// The server's reply code and no more of its words, which often repeat the address.
        reason: String,
    },
    /// It had the whole mail, and did not say whether it takes it. To offer it again might send it
    /// twice, and whoever wants that has to ask the recipient or the server's log first.
    Unknown,
}

/// How far a mail has come, for the document that records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It is claimed, and may be on its way.
    Sending,
    /// A server has taken it.
    Sent,
    /// No server will: such an address does not get better by trying again.
    Refused(String),
    /// A server may have taken it, and did not say: it is not offered again.
    Unknown,
}

impl From<Sent> for Status {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Accepted => Self::Sent,
            Sent::Refused { reason } => Self::Refused(reason),
            Sent::Unknown => Self::Unknown,
        }
    }
}

/// Sends mails.
#[derive(Clone)]
pub struct Mailer(Arc<Adapter>);

enum Adapter {
    Smtp(smtp::Smtp),
    Local(local_mailbox::LocalMailbox),
}

impl Mailer {
    /// Sends by SMTP. It connects with the first mail, and keeps a few connections for the next.
    ///
    /// `url` is the value of `MAIL_URL`: `smtps://user:password@host` (TLS from the start, port 465)
    /// or `smtp://user:password@host` (STARTTLS, port 587), user and password percent-encoded.
    /// An `smtp://` server that offers no STARTTLS is used unencrypted, but a password is sent so
    /// only to this machine itself. `from` is the value of `MAIL_FROM`, with or without a name.
    ///
    /// SMTP knows no idempotency keys, so this is how many mails one effect sends:
    /// - None, until the dot that ends the message is sent: an error before it is tried again.
    /// - At most one, when no reply to that dot can be read, in time or at all: [`Sent::Unknown`],
    ///   which is recorded and not tried again. A reply that refuses the mail means that it is not
    ///   queued, so one that does so for now (4xx) is tried again.
    /// - One more for each process that dies, or is cut off, between sending the dot and recording
    ///   what came of it. All have the same `Message-ID`, by which a server or a mailbox can drop
    ///   the others.
    ///
    /// # Errors
    /// One of the two is malformed.
    pub fn smtp(url: &str, from: &str) -> Result<Self, Misconfigured> {
        Ok(Self(Arc::new(Adapter::Smtp(smtp::Smtp::new(url, from)?))))
    }

    /// Puts mails into the local mailbox, a fake: see [`mailbox`]. Where the store does not say
    /// whether it has kept a mail, the outcome is [`Sent::Unknown`], as with a server.
    #[must_use]
    pub fn local(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self(Arc::new(Adapter::Local(local_mailbox::LocalMailbox::new(store, clock))))
    }

    /// Sends a mail; `key` is the same on every attempt. Ends within 8 seconds.
    ///
    /// # Errors
    /// [`Failure::Retry`] when the server cannot be reached, is not ready, or refuses us rather than
    /// the mail (credentials, sender, policy), and in no case after it may have taken the mail. [`Failure::Reject`] when the mail cannot be built.
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
