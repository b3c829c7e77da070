//! What the failure of an SMTP command means for the mail.

use std::{error::Error as _, io};

use lettre::transport::smtp::Error;
use pushbox::Failure;

/// Whether the server will never accept this mail, whoever sends it. All other refusals concern the
/// sender: credentials, the protocol (50x), the sender's address (X.1.7, X.1.8), or a policy such as
/// "relay access denied" (X.7.x). They are retried: otherwise mails would be lost until somebody
/// corrects the settings.
/// <https://www.iana.org/assignments/smtp-enhanced-status-codes>
pub(super) fn is_about_the_mail(error: &Error) -> bool {
    let is_about_the_sender = match error.status().map(u16::from) {
        Some(500..=504 | 530 | 534 | 535 | 538) => true,
        _ => enhanced_code(error).is_some_and(|code| {
            let (_, detail) = code.split_once('.').unwrap_or_default();
            detail == "1.7" || detail == "1.8" || detail.starts_with("7.")
        }),
    };
    error.is_permanent() && !is_about_the_sender
}

pub(super) fn retry(doing: &str, error: &Error) -> Failure {
    Failure::Retry(format!("the mail server failed while {doing}: {}", describe(error)))
}

/// The reply code or the cause, without the server's words: they often repeat an address.
pub(super) fn describe(error: &Error) -> String {
    match (error.status(), enhanced_code(error)) {
        (Some(code), Some(enhanced)) => format!("{code} {enhanced}"),
        (Some(code), None) => code.to_string(),
        (None, _) if error.is_response() => "a reply that is not SMTP".to_owned(),
        // These texts come from this program or from TLS, not from the server.
        (None, _) if error.is_client() || error.is_tls() => error.to_string(),
        (None, _) => {
            let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            cause.map_or_else(|| "no connection".to_owned(), |cause| cause.kind().to_string())
        }
    }
}

/// The code at the beginning of a reply's text, such as `5.1.1`.
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
