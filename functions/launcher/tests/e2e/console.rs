//! `functions console` on the emulators: the receipts in Firestore, the dead letters in Pub/Sub.

use reqwest::{Client, StatusCode};

use crate::{
    emulators::Message,
    harness::{eventually, free_port},
    world::World,
};

/// The console of a world.
struct Console {
    url: String,
    client: Client,
}

impl Console {
    async fn page(&self, path: &str, query: &[(&str, &str)]) -> Result<String, String> {
        let request = self.client.get(format!("{}{path}", self.url)).query(query);
        let answer = async { request.send().await?.error_for_status()?.text().await };
        answer.await.map_err(|error| error.to_string())
    }

    async fn act(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
        let answer =
            self.client.post(format!("{}{path}", self.url)).form(fields).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a text"))
    }
}

#[tokio::test]
async fn the_console_shows_what_an_event_caused_and_replays_a_letter_to_its_service() {
    let world = World::plan("console").services(&["user-service", "crm-service"]).start().await;
    let port = free_port().to_string();
    let _process = world.start_tool("console", &["console", "--allow-replay"], &[("PORT", &port)]);
    let console = Console { url: format!("http://localhost:{port}"), client: Client::new() };
    eventually("the console answers", async || console.page("/", &[]).await.map(drop)).await;

    world.sign_up("ann@example.com", "Ann").await;
    world.delivered("crm-service", "handled", 1).await;
    let key = world.deliveries("crm-service")[0]["key"].as_str().expect("a key").to_owned();
    let page = console.page("/_local/events", &[("key", &key)]).await.expect("a page");
    assert!(page.contains("good\">handled</span> crm-service"), "{page}");

    // As if crm-service had rejected it in an earlier release.
    let user = r#"{"userId":"bob-1","email":"bob@example.com","name":"Bob"}"#;
    let mut letter = Message::new(user);
    let attributes = [("ce-id", "1"), ("ce-source", "//pushbox/user-service"), ("ce-type", "user.created")];
    letter.attributes.extend(attributes.map(|(name, value)| (name.to_owned(), value.to_owned())));
    world.pubsub.publish_to("crm-service-dead-letter", &letter).await;
    let page = eventually("the console sees the letter", async || {
        let (status, answer) = console.act("/_local/dead-letters/look", &[]).await;
        let page = console.page("/_local/dead-letters", &[]).await?;
        if page.contains("name=\"group\"") { Ok(page) } else { Err(format!("{status} {answer}")) }
    })
    .await;
    assert!(!page.contains("bob@example.com"), "the data is masked");
    let field = "name=\"group\" value=\"";
    let group = page.split(field).nth(1).and_then(|rest| rest.split('"').next()).expect("a group");
    let (status, answer) =
        console.act("/_local/dead-letters/replay", &[("service", "crm-service"), ("group", group)]).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    eventually("the replay is handled", async || {
        let page = console.page("/_local/dead-letters", &[]).await?;
        if page.contains("good\">1 handled") { Ok(()) } else { Err(page) }
    })
    .await;
    let contact = world.get_json("crm-service", "/contacts/bob-1").await.expect("a contact");
    assert_eq!(contact["email"], "bob@example.com");
}
