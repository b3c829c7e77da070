//! The message that carries a mail ([RFC 5322](https://www.rfc-editor.org/rfc/rfc5322)).

use std::error::Error;

use email_encoding::headers::{rfc2047, writer::EmailWriter};
use lettre::{
    Address, Message,
    message::{
        Attachment as File, Mailbox, MultiPart, SinglePart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
};
use pushbox::{Failure, reject};

use super::{Attachment, Mail};

/// The recipient as lettre's type, which can carry every address: see the test.
pub(super) fn recipient(mail: &Mail) -> Result<Address, Failure> {
    mail.to.as_str().parse().map_err(|_| reject("SMTP cannot carry the recipient's address"))
}

/// The message's bytes.
pub(super) fn compose(from: &Mailbox, to: Address, mail: &Mail, key: &str) -> Result<Vec<u8>, Failure> {
    let bodies = MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone());
    let builder = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .header(Subject(mail.subject.clone()))
        .header(AutoSubmitted)
        .message_id(Some(format!("<{key}@{}>", from.email.domain())));
    let message = if mail.attachments.is_empty() {
        builder.multipart(bodies)
    } else {
        let files = mail.attachments.iter().map(file).collect::<Result<Vec<_>, _>>()?;
        builder.multipart(files.into_iter().fold(MultiPart::mixed().multipart(bodies), MultiPart::singlepart))
    };
    Ok(message.map_err(reject)?.formatted())
}

fn file(attachment: &Attachment) -> Result<SinglePart, Failure> {
    let content_type = ContentType::parse(&attachment.content_type)
        .map_err(|_| reject("an attachment's content type is not a media type"))?;
    Ok(File::new(attachment.name.clone()).body(attachment.content.clone(), content_type))
}

/// The subject. It may contain a text that a user chose, for example a name such as
/// `=?utf-8?q?evil?=`. lettre does not encode such a word, and mail programs would decode it. So a
/// subject with `=?` is encoded as a whole.
#[derive(Clone)]
struct Subject(String);

impl Header for Subject {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Subject")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        let plain = self.0.clone();
        if !plain.contains("=?") {
            return HeaderValue::new(Self::name(), plain);
        }
        let mut encoded = String::new();
        let mut writer = EmailWriter::new(&mut encoded, "Subject: ".len(), 0, false);
        rfc2047::encode(&plain, &mut writer).expect("a String takes whatever is written");
        drop(writer);
        HeaderValue::dangerous_new_pre_encoded(Self::name(), plain, encoded)
    }
}

/// Tells autoresponders not to answer ([RFC 3834](https://www.rfc-editor.org/rfc/rfc3834#section-5)).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use events::EmailAddress;

    use super::*;

    /// Something that resembles an address.
    fn hostile(random: &mut fastrand::Rng) -> String {
        #[rustfmt::skip]
        const PIECES: [&str; 48] = [
            "a", "b", "Z", "7", "ann", "example", "com", ".", ".", ".", "-", "_", "+", "'", "@",
            "\"", "\\", " ", "\t", "\r\n", "\0", "<", ">", "(", ")", ",", ";", ":", "[", "]",
            "=?utf-8?q?a?=", "%40", "0x7f", "127.0.0.1", "xn--", "xn--bcher-kva", "ü", "u\u{308}",
            "İ", "ß", "Σ", "李", "א", "\u{202E}", "\u{200D}", "\u{3164}", "。", "🎟",
        ];
        let mut some = |most: usize| -> String {
            let count = random.usize(1..=most);
            (0..count).map(|_| PIECES[random.usize(..PIECES.len())]).collect()
        };
        let (local, domain) = (some(3), some(3));
        let last = if random.bool() { ".com" } else { "" };
        // Some are longer than an address can be.
        let padding = if random.u8(..16) == 0 { "x".repeat(random.usize(50..260)) } else { String::new() };
        format!("{local}{padding}@{domain}{last}")
    }

    #[test]
    fn smtp_can_carry_every_address() {
        let from: Mailbox = "Shop <hello@shop.example>".parse().expect("a sender");
        let mut random = fastrand::Rng::with_seed(8);
        let mut accepted = 0;
        for _ in 0..60_000 {
            let given = hostile(&mut random);
            let Ok(to) = given.parse::<EmailAddress>() else { continue };
            accepted += 1;
            assert_eq!(to.as_str().parse::<EmailAddress>().as_ref(), Ok(&to), "{given:?} has two forms");
            let mail = Mail {
                to: to.clone(),
                subject: "s".to_owned(),
                text: "t".to_owned(),
                html: "h".to_owned(),
                attachments: Vec::new(),
            };
            let recipient = recipient(&mail).expect(&given);
            assert_eq!(recipient.to_string(), to.as_str(), "{given:?}");
            assert!(recipient.domain().is_ascii(), "{given:?}");
            let message = compose(&from, recipient, &mail, "key").expect(&given);
            let headers = String::from_utf8(message).expect("UTF-8");
            let headers = headers.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
            assert_eq!(headers.matches("\r\nto: ").count(), 1, "{given:?}: {headers}");
        }
        assert!(accepted > 1_000, "only {accepted} of the addresses are valid");
    }
}
