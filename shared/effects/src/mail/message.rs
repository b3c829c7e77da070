//! A mail as [RFC 5322](https://www.rfc-editor.org/rfc/rfc5322) has it.

use lettre::{
    Address, Message,
    message::{Attachment as File, Mailbox, MultiPart, SinglePart, header::ContentType},
};
use pushbox::{Failure, reject};

use super::{Attachment, Mail};

/// The recipient, with the domain in its ASCII form.
pub(super) fn recipient(mail: &Mail) -> Result<Address, Failure> {
    let malformed = || reject("SMTP cannot carry the recipient's address");
    let (user, domain) = mail.to.as_str().rsplit_once('@').ok_or_else(malformed)?;
    let domain = url::Host::parse(domain).map_err(|_| malformed())?.to_string();
    Address::new(user, domain).map_err(|_| malformed())
}

/// The message's bytes.
pub(super) fn compose(from: &Mailbox, to: Address, mail: &Mail, key: &str) -> Result<Vec<u8>, Failure> {
    let bodies = MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone());
    let builder = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(mail.subject.as_str())
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
