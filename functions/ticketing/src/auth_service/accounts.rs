//! Accounts: one for each e-mail address.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{Json, http::StatusCode, response::Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use events::{AccountCreated, EmailAddress, RevocationReason, UserId};
use jiff::Timestamp;
use pushbox::{Command, Context, Document, Documents, Failure, FieldErrors, Problem, Reply, SignedIn};
use serde::{Deserialize, Serialize};

use super::{
    Desk,
    browser::Browser,
    ended,
    passwords::{Password, PasswordHash, objection},
    sessions::{Session, Standing},
    throttle::{Attempt, Counted},
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    email: EmailAddress,
    user_id: UserId,
    password: PasswordHash,
}

/// The part of an account that its user reads.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    user_id: UserId,
    email: EmailAddress,
    created_at: Timestamp,
}

#[derive(Default, Deserialize)]
pub(super) struct Credentials {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
}

pub(super) async fn sign_up(
    desk: Arc<Desk>,
    browser: Browser,
    documents: Documents,
    mut command: Command<Credentials>,
) -> Result<Response, Problem> {
    browser.check_origin(desk.settings.origins.as_ref())?;
    let Credentials { email, password } = std::mem::take(&mut command.body);
    let mut errors = FieldErrors::default();
    let email: Option<EmailAddress> = errors.parse("/email", &email);
    let objection = objection(&password, email.as_ref());
    if let Some(objection) = &objection {
        errors.note("/password", objection);
    }
    let (Some(email), None) = (email, objection) else { return Err(errors.into()) };
    let attempt = Attempt::to_sign_up(&email, browser.network.as_deref(), &desk.settings.signing_key);
    attempt.check(&documents).await?;
    let place = desk.hasher.place()?;
    count(&command, attempt.clone()).await?;
    let fingerprint = desk.fingerprint("signup", &email, &password);
    let password = place.hash(Password(password)).await?;
    let new = Arc::new((desk.clone(), browser, email, password, attempt));
    let command = command.with_fingerprint(fingerprint);
    let reply = command.run(new, |new, cx| async move { create_account(&new, &cx).await }).await?;
    desk.welcome(StatusCode::CREATED, &reply.read()?, &documents).await
}

async fn create_account(
    (desk, browser, email, password, attempt): &(Arc<Desk>, Browser, EmailAddress, PasswordHash, Attempt),
    cx: &Context,
) -> Result<Reply, Problem> {
    let user_id: UserId = cx.new_id().parse().map_err(Failure::from)?;
    let (email, password) = (email.clone(), password.clone());
    if cx.create(&Account { email: email.clone(), user_id: user_id.clone(), password }).exists() {
        let detail = "There is an account with this e-mail address already. Please sign in.";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    cx.create(&User { user_id: user_id.clone(), email: email.clone(), created_at: cx.now() })
        .require_new()?;
    cx.publish(&AccountCreated { user_id: user_id.clone(), email });
    attempt.remember(cx);
    open_session(desk, browser, user_id, cx).await
}

pub(super) async fn sign_in(
    desk: Arc<Desk>,
    browser: Browser,
    documents: Documents,
    mut command: Command<Credentials>,
) -> Result<Response, Problem> {
    browser.check_origin(desk.settings.origins.as_ref())?;
    let Credentials { email, password } = std::mem::take(&mut command.body);
    let mut errors = FieldErrors::default();
    let email: Option<EmailAddress> = errors.parse("/email", &email);
    if password.is_empty() {
        errors.note("/password", "a password is not empty");
    }
    let Some(email) = email.filter(|_| !password.is_empty()) else { return Err(errors.into()) };
    let attempt = Attempt::to_sign_in(&email, browser.network.as_deref(), &desk.settings.signing_key);
    attempt.check(&documents).await?;
    let place = desk.hasher.place()?;
    let counted = count(&command, attempt.clone()).await?;
    let fingerprint = desk.fingerprint("signin", &email, &password);
    let account: Option<Account> = documents.get(account_id(&email)).await?;
    let stored = account.as_ref().map(|account| account.password.clone());
    let is_right = place.verify(Password(password), stored).await?;
    let Some(Account { user_id, .. }) = account.filter(|_| is_right) else {
        tracing::info!("a sign-in was refused");
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "The e-mail address or the password is wrong."));
    };
    let found = Arc::new((desk.clone(), browser, user_id, attempt, counted));
    let enter = command.with_fingerprint(fingerprint).run(found, |found, cx| async move {
        let (desk, browser, user_id, attempt, counted) = &*found;
        attempt.forgive(counted, &cx).await?;
        open_session(desk, browser, user_id.clone(), &cx).await
    });
    desk.welcome(StatusCode::OK, &enter.await?.read()?, &documents).await
}

/// Counts the attempt in a commit of its own, before the password is looked at.
async fn count(command: &Command<Credentials>, attempt: Attempt) -> Result<Counted, Problem> {
    let counting = command.aside().run(attempt, |attempt, cx| async move {
        attempt.count(&cx).await.map(|counted| Reply::ok(&counted))
    });
    Ok(counting.await?.read()?)
}

/// Stages a new session, and the end of the one that the browser had.
async fn open_session(
    desk: &Desk,
    browser: &Browser,
    user_id: UserId,
    cx: &Context,
) -> Result<Reply, Problem> {
    let key = &desk.settings.signing_key;
    if let Some(ticket) = &browser.ticket
        && let Some(before) = cx.get::<Session>(ticket.session_id.as_str()).await?
        && let Standing::Current | Standing::Previous = before.standing(ticket, key, cx.now())
    {
        before.end(RevocationReason::Replaced, cx);
    }
    Ok(Reply::ok(&Session::open(user_id, desk.settings.random.nonce(), key, cx)?))
}

pub(super) async fn me(desk: Arc<Desk>, user: SignedIn, documents: Documents) -> Result<Json<User>, Problem> {
    let session: Option<Session> = documents.get(user.session()).await?;
    if !session.is_some_and(|session| session.is_live(desk.settings.clock.now())) {
        return Err(ended());
    }
    documents.get(user.user()).await?.map(Json).ok_or_else(|| Problem::not_found("user"))
}

impl Desk {
    /// Recognises a repeat of a request, and hides the password: only this service can compute it.
    fn fingerprint(&self, route: &str, email: &EmailAddress, password: &str) -> String {
        self.settings.signing_key.derive("fingerprint", &[route, email.as_str(), password])
    }
}

/// Paths of documents can be in logs, so they hold no address.
fn account_id(email: &EmailAddress) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, email.as_str().as_bytes()))
}

impl Document for Account {
    const COLLECTION: &'static str = "accounts";
    fn id(&self) -> String {
        account_id(&self.email)
    }
}

impl Document for User {
    const COLLECTION: &'static str = "users";
    fn id(&self) -> String {
        self.user_id.to_string()
    }
}
