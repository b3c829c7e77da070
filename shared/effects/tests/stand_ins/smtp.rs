//! Mails to aiosmtpd, a mail server.

use effects::mail::{Attachment, Mail, Mailer, Sent};
use pushbox::Failure;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::Server;

fn mail(to: &str, subject: &str) -> Mail {
    Mail {
        to: to.parse().unwrap(),
        subject: subject.to_owned(),
        text: "Guten Tag, Zoë.\n.\nIhr 李-Team\n".to_owned(),
        html: "<p>Guten Tag, Zoë.</p>".to_owned(),
        attachments: Vec::new(),
    }
}

fn mailer(login: &str, server: &Server) -> Mailer {
    let url = format!("smtp://{login}127.0.0.1:{}", server.port);
    Mailer::smtp(&url, "Büro <hello@shop.example>").unwrap()
}

async fn send(mailer: &Mailer, mail: Mail) -> Result<Sent, Failure> {
    mailer.clone().send(mail, "key-1".to_owned()).await
}

#[tokio::test]
async fn a_mail_arrives_complete() {
    let mut server = Server::start("smtp_server.py", &[]);
    let mailer = mailer("", &server);
    let sent = send(&mailer, mail("zoe@bücher.example", "Willkommen, Zoë 🎟")).await.unwrap();
    assert_eq!(sent, Sent::Accepted);

    let seen = server.seen();
    assert_eq!(seen["from"], "hello@shop.example");
    assert_eq!(seen["to"][0], "zoe@xn--bcher-kva.example");
    for (name, expected) in [
        ("From", "Büro <hello@shop.example>"),
        ("To", "zoe@xn--bcher-kva.example"),
        ("Subject", "Willkommen, Zoë 🎟"),
        ("Message-ID", "<key-1@shop.example>"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(seen["headers"][name], expected, "{name}: {seen}");
    }
    assert!(seen["headers"]["Date"].is_string(), "{seen}");
    let parts = seen["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2, "{seen}");
    for (part, (kind, expected)) in parts
        .iter()
        .zip([("text/plain", "Guten Tag, Zoë.\n.\nIhr 李-Team"), ("text/html", "<p>Guten Tag, Zoë.</p>")])
    {
        assert_eq!(part["type"], kind);
        let content = part["content"].as_str().unwrap().replace("\r\n", "\n");
        assert_eq!(content.trim_end(), expected);
    }
}

#[tokio::test]
async fn attachments_arrive() {
    let mut server = Server::start("smtp_server.py", &[]);
    let ticket = Attachment {
        name: "Karte für Zoë.txt".to_owned(),
        content_type: "application/octet-stream".to_owned(),
        content: "Reihe 7".into(),
    };
    let sent =
        send(&mailer("", &server), Mail { attachments: vec![ticket], ..mail("zoe@example.com", "s") }).await;
    assert_eq!(sent.unwrap(), Sent::Accepted);
    let seen = server.seen();
    let part = &seen["parts"][2];
    assert_eq!((&part["name"], &part["content"]), (&"Karte für Zoë.txt".into(), &"Reihe 7".into()), "{seen}");
}

#[tokio::test]
async fn maps_each_reply_to_its_outcome() {
    let server = Server::start("smtp_server.py", &[]);
    let mailer = mailer("", &server);
    for (to, subject, expected) in [
        ("gone@example.com", "s", "refused the server answered 550 5.1.1"),
        ("old@example.com", "s", "refused the server answered 550"),
        ("ann@example.com", "spam", "refused the server answered 554 5.6.0"),
        ("busy@example.com", "s", "retry the mail server failed while offering the mail: 451 4.2.1"),
        ("denied@example.com", "s", "retry the mail server failed while offering the mail: 554 5.7.1"),
        ("login@example.com", "s", "retry the mail server failed while offering the mail: 530 5.7.0"),
        ("ann@example.com", "later", "retry the mail server failed while offering the mail: 451 4.3.0"),
        ("zoë@example.com", "s", "accepted"),
        ("ann@example.com", "s", "accepted"),
    ] {
        let found = match send(&mailer, mail(to, subject)).await {
            Ok(Sent::Accepted) => "accepted".to_owned(),
            Ok(Sent::Refused { reason }) => format!("refused {reason}"),
            Ok(Sent::Unknown) => "unknown".to_owned(),
            Err(Failure::Retry(text)) => format!("retry {text}"),
            Err(Failure::Reject(text)) => format!("reject {text}"),
        };
        assert_eq!(found, expected, "{to} {subject}");
    }
}

#[tokio::test]
async fn without_a_reply_to_the_final_dot_the_outcome_is_unknown() {
    let mut server = Server::start("smtp_server.py", &[]);
    let mailer = mailer("", &server);
    for (mails, subject) in (1..).zip(["drops", "garbled", "goes on", "hangs"]) {
        let began = std::time::Instant::now();
        assert_eq!(
            send(&mailer, mail("ann@example.com", subject)).await.unwrap(),
            Sent::Unknown,
            "{subject}"
        );
        assert!(began.elapsed().as_secs() <= 9, "{subject}");
        // If a mail were sent twice, its subject would appear here again.
        let seen = server.seen();
        assert_eq!(seen["headers"]["Subject"], subject);
        assert_eq!(
            seen["connections"], mails,
            "a connection whose mail is unknown is not used again: {seen}"
        );
    }
    assert_eq!(send(&mailer, mail("ann@example.com", "s")).await.unwrap(), Sent::Accepted);
    assert_eq!(server.seen()["headers"]["Subject"], "s");
}

/// A server that closes the connection after it has asked for the message.
async fn gone_after_data(server: tokio::net::TcpListener) {
    let (mut connection, _) = server.accept().await.unwrap();
    let (reader, mut writer) = connection.split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 ready\r\n").await.unwrap();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line == "DATA" {
            return writer.write_all(b"354 go on\r\n").await.unwrap();
        }
        writer.write_all(b"250 OK\r\n").await.unwrap();
    }
}

#[tokio::test]
async fn before_the_final_dot_a_lost_connection_is_a_retry() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", server.local_addr().unwrap());
    let gone = tokio::spawn(gone_after_data(server));
    // Larger than the buffers between the two, so the dot is never written.
    let attachment = Attachment {
        name: "large.bin".to_owned(),
        content_type: "application/octet-stream".to_owned(),
        content: vec![0; 30 << 20],
    };
    let mail = Mail { attachments: vec![attachment], ..mail("ann@example.com", "s") };
    let mailer = Mailer::smtp(&url, "hello@shop.example").unwrap();
    let failure = send(&mailer, mail).await.unwrap_err();
    assert!(matches!(&failure, Failure::Retry(text) if text.contains("offering the mail")), "{failure:?}");
    gone.await.unwrap();
}

#[tokio::test]
async fn mail_programs_show_the_subject_unchanged() {
    let mut server = Server::start("smtp_server.py", &[]);
    let mailer = mailer("", &server);
    for subject in [
        "Welcome, =?utf-8?q?evil?=",
        "=?utf-8?b?ZXZpbA==?=",
        "Zoë =?utf-8?q?evil?=",
        &"=?utf-8?q?=0D=0ABcc=3A_eve?= ".repeat(9),
        "1 =? 2",
    ] {
        assert_eq!(send(&mailer, mail("ann@example.com", subject)).await.unwrap(), Sent::Accepted);
        assert_eq!(server.seen()["headers"]["Subject"], subject, "{subject}");
    }
}

#[tokio::test]
async fn a_connection_sends_several_mails_and_its_loss_is_a_retry() {
    let mut server = Server::start("smtp_server.py", &[]);
    let mailer = mailer("", &server);
    for _ in 0..3 {
        assert_eq!(send(&mailer, mail("ann@example.com", "s")).await.unwrap(), Sent::Accepted);
        assert_eq!(server.seen()["connections"], 1);
    }
    drop(server);
    let failure = send(&mailer, mail("ann@example.com", "s")).await.unwrap_err();
    let expected = "the mail server failed while connecting: connection refused";
    assert!(matches!(&failure, Failure::Retry(text) if text == expected), "{failure:?}");
}

#[tokio::test]
async fn logs_in_and_retries_a_wrong_login() {
    let server = Server::start("smtp_server.py", &["shop", "p@ss/word"]);
    let sent = send(&mailer("shop:p%40ss%2Fword@", &server), mail("ann@example.com", "s")).await;
    assert_eq!(sent.unwrap(), Sent::Accepted);
    for login in ["", "shop:wrong@"] {
        let failure = send(&mailer(login, &server), mail("ann@example.com", "s")).await.unwrap_err();
        assert!(matches!(&failure, Failure::Retry(text) if text.contains(": 53")), "{login} {failure:?}");
    }
}

#[tokio::test]
async fn a_silent_server_is_a_retry_before_the_deadline() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", silent.local_addr().unwrap());
    let mailer = Mailer::smtp(&url, "hello@shop.example").unwrap();
    let began = std::time::Instant::now();
    let failure = send(&mailer, mail("ann@example.com", "s")).await.unwrap_err();
    assert!(matches!(failure, Failure::Retry(_)) && began.elapsed().as_secs() <= 9);
}
