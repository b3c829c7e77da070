//! The connection to the mail server that `MAIL_URL` names.

use lettre::transport::smtp::{
    Error,
    authentication::{Credentials, DEFAULT_MECHANISMS},
    client::{AsyncSmtpConnection, TlsParameters},
    extension::ClientId,
};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::{CALL_DEADLINE, Misconfigured};

pub(super) struct Server {
    host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    tls: TlsParameters,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Encryption {
    /// TLS from the first byte ([RFC 8314](https://www.rfc-editor.org/rfc/rfc8314)).
    FromTheStart,
    /// STARTTLS. Without it there is no connection.
    Required,
    /// STARTTLS if the server offers it.
    IfOffered,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self, Misconfigured> {
        let url = Url::parse(url).map_err(|_| malformed("it is not a URL"))?;
        // `Url` does not know these schemes, so it has not checked the host.
        let host = url.host_str().ok_or_else(|| malformed("it has no host"))?;
        let host = Host::parse(host).map_err(|_| malformed("its host is not a name or an address"))?;
        let credentials = credentials(&url)?;
        let (encryption, default_port) = match url.scheme() {
            "smtps" => (Encryption::FromTheStart, 465),
            "smtp" if credentials.is_some() && !is_this_machine(&host) => (Encryption::Required, 587),
            "smtp" => (Encryption::IfOffered, 587),
            _ => return Err(malformed("it starts with neither smtp:// nor smtps://")),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(malformed("something follows the host and port"));
        }
        // The brackets of an IPv6 address belong to the URL.
        let host = host.to_string().trim_matches(['[', ']']).to_owned();
        let tls =
            TlsParameters::new(host.clone()).map_err(|_| malformed("its host cannot have a certificate"))?;
        Ok(Self { host, port: url.port().unwrap_or(default_port), encryption, credentials, tls })
    }

    /// Connects, encrypts the connection and logs in.
    pub(super) async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let us = ClientId::default();
        let address = (self.host.as_str(), self.port);
        let tls = (self.encryption == Encryption::FromTheStart).then(|| self.tls.clone());
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(CALL_DEADLINE), &us, tls, None).await?;
        let upgrade = match self.encryption {
            Encryption::FromTheStart => false,
            Encryption::Required => true,
            Encryption::IfOffered => connection.can_starttls(),
        };
        if upgrade {
            connection.starttls(self.tls.clone(), &us).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

fn credentials(url: &Url) -> Result<Option<Credentials>, Misconfigured> {
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| malformed("its user or password is not UTF-8"))
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (_, None) => Err(malformed("it has a user but no password")),
        (user, Some(password)) => Ok(Some(Credentials::new(decode(user)?, decode(password)?))),
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn malformed(problem: &'static str) -> Misconfigured {
    Misconfigured {
        variable: "MAIL_URL",
        problem,
        meaning: "the mail server and how to log in there",
        example: "smtps://user:password@smtp.example.com",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_host_port_encryption_and_login() {
        for (url, expected) in [
            ("smtps://u:p@mail.example", ("mail.example", 465, Encryption::FromTheStart, true)),
            ("smtps://mail.example:2465/", ("mail.example", 2465, Encryption::FromTheStart, false)),
            ("smtp://u:p%40%2F@mail.example", ("mail.example", 587, Encryption::Required, true)),
            ("smtp://mail.example:25", ("mail.example", 25, Encryption::IfOffered, false)),
            ("smtp://u:p@localhost:1025", ("localhost", 1025, Encryption::IfOffered, true)),
            ("smtp://u:p@127.0.0.1", ("127.0.0.1", 587, Encryption::IfOffered, true)),
            ("smtp://u:p@[::1]:25", ("::1", 25, Encryption::IfOffered, true)),
        ] {
            let server = Server::parse(url).map_err(|error| error.to_string()).expect(url);
            let found = (server.host.as_str(), server.port, server.encryption, server.credentials.is_some());
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn names_the_problem_without_the_password() {
        for (url, expected) in [
            ("mail.example", "not a URL"),
            ("http://u:secret@mail.example", "neither smtp:// nor smtps://"),
            ("smtp://user@mail.example", "no password"),
            ("smtp://u:secret@mail.example/inbox", "something follows"),
            ("smtp://u:secret@mail.example?tls=none", "something follows"),
            ("smtp:secret", "no host"),
            ("smtp://u:%ff@mail.example", "not UTF-8"),
        ] {
            let error = Server::parse(url).err().expect(url).to_string();
            assert!(error.starts_with("MAIL_URL is malformed") && error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
