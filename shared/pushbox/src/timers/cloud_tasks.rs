//! Google Cloud Tasks, or a stand-in for it.

use std::time::Duration;

use async_trait::async_trait;
use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::{
    error::{Error, rpc::Code},
    options::RequestOptionsBuilder,
    retry_policy::{Aip194Strict, RetryPolicyExt},
};
use google_cloud_tasks_v2::{
    client::CloudTasks as Client,
    model::{HttpMethod, HttpRequest, OAuthToken, Task},
};
use google_cloud_wkt::Timestamp;
use tokio::sync::OnceCell;

use super::{Timer, TimerError, Timers};
use crate::{ServiceName, Timing};

/// The permission that the token of a task has.
const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";

/// How long Cloud Tasks waits for Pub/Sub's answer.
const DISPATCH_DEADLINE: Duration = Duration::from_secs(30);

/// How often a timer can be restored while Cloud Tasks refuses its earlier names.
const MOST_RESTORED: u32 = 20;

/// Google Cloud Tasks. It connects at its first use.
///
/// A task is the publish call of its message, so that Cloud Tasks calls Pub/Sub, and no service wakes up before the
/// event is due.
pub struct CloudTasks {
    queue: String,
    topics: String,
    account: Option<String>,
    endpoint: Option<String>,
    deadline: Duration,
    client: OnceCell<Client>,
}

impl CloudTasks {
    /// The timers of one service, for the topics of `project`, whose names in the cloud begin with `names_prefix`.
    ///
    /// `queue` is the queue's full name, such as `projects/p/locations/l/queues/order-service-timers`. `account` is the
    /// service account of the service: the tasks publish with its token.
    #[must_use]
    pub fn new(queue: &str, project: &str, names_prefix: &str, account: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            topics: format!("https://pubsub.googleapis.com/v1/projects/{project}/topics/{names_prefix}"),
            account: Some(account.to_owned()),
            endpoint: None,
            deadline: Timing::DEFAULT.publish,
            client: OnceCell::new(),
        }
    }

    /// Timers on a stand-in for Cloud Tasks, which publishes to the Pub/Sub emulator. Both are given by host and port.
    /// `{service}` in `queue` stands for the service's name.
    #[must_use]
    pub fn emulated(queue: &str, project: &str, tasks: &str, pubsub: &str) -> Self {
        Self {
            topics: format!("http://{pubsub}/v1/projects/{project}/topics/"),
            account: None,
            endpoint: Some(format!("http://{tasks}")),
            ..Self::new(queue, project, "", "")
        }
    }

    /// Ends each call after this time. It is [`Timing::publish`] by default.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets a timer that the queue has lost. Returns whether it was lost.
    ///
    /// Cloud Tasks refuses the name of a task that was deleted, for up to a day. Then the task gets its name with a
    /// number.
    ///
    /// # Errors
    /// If Cloud Tasks does not answer, or refuses.
    pub async fn restore(&self, timer: &Timer) -> Result<bool, TimerError> {
        let numbered = (1..=MOST_RESTORED).map(|number| format!("{}-{number}", timer.id));
        for id in [timer.id.clone()].into_iter().chain(numbered) {
            if self.create(timer, &id).await? {
                return Ok(true);
            }
            if self.exists(timer.service, &id).await? {
                return Ok(false);
            }
        }
        let reason = format!("the timer {} was restored {MOST_RESTORED} times in a day", timer.id);
        Err(TimerError { service: timer.service, reason })
    }

    async fn exists(&self, service: ServiceName, id: &str) -> Result<bool, TimerError> {
        let name = self.task(service, id);
        self.within(service, async |client| match client.get_task().set_name(&name).send().await {
            Ok(_) => Ok(true),
            Err(error) if has_code(&error, Code::NotFound) => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Creates a task. Returns false if the name was used before.
    async fn create(&self, timer: &Timer, id: &str) -> Result<bool, TimerError> {
        let mut request = HttpRequest::new()
            .set_url(format!("{}{}:publish", self.topics, timer.message.topic))
            .set_http_method(HttpMethod::Post)
            .set_headers([("Content-Type", "application/json")])
            .set_body(timer.publish_body());
        if let Some(account) = &self.account {
            request = request
                .set_oauth_token(OAuthToken::new().set_service_account_email(account).set_scope(SCOPE));
        }
        let refused = |error: &dyn ToString| TimerError { service: timer.service, reason: error.to_string() };
        let at = Timestamp::new(timer.at.as_second(), timer.at.subsec_nanosecond());
        let deadline =
            google_cloud_wkt::Duration::try_from(DISPATCH_DEADLINE).map_err(|error| refused(&error))?;
        let task = Task::new()
            .set_name(self.task(timer.service, id))
            .set_schedule_time(at.map_err(|error| refused(&error))?)
            .set_dispatch_deadline(deadline)
            .set_http_request(request);
        let queue = self.queue(timer.service);
        self.within(timer.service, async |client| {
            let create = client.create_task().set_parent(&queue).set_task(task.clone());
            // The name makes it idempotent.
            match create.with_idempotency(true).send().await {
                Ok(_) => Ok(true),
                Err(error) if has_code(&error, Code::AlreadyExists) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn within<T>(
        &self,
        service: ServiceName,
        call: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, TimerError> {
        let call = async {
            let client = self.client.get_or_try_init(|| self.connect()).await?;
            call(client).await.map_err(|error| error.to_string())
        };
        tokio::time::timeout(self.deadline, call)
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            .map_err(|reason| TimerError { service, reason })
    }

    async fn connect(&self) -> Result<Client, String> {
        let retry = Aip194Strict.with_time_limit(self.deadline);
        let mut builder = Client::builder().with_retry_policy(retry);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint).with_credentials(anonymous::Builder::new().build());
        }
        builder.build().await.map_err(|error| error.to_string())
    }

    fn queue(&self, service: ServiceName) -> String {
        self.queue.replace("{service}", service)
    }

    fn task(&self, service: ServiceName, id: &str) -> String {
        format!("{}/tasks/{id}", self.queue(service))
    }
}

fn has_code(error: &Error, code: Code) -> bool {
    error.status().is_some_and(|status| status.code == code)
}

#[async_trait]
impl Timers for CloudTasks {
    async fn set(&self, timer: Timer) -> Result<(), TimerError> {
        self.create(&timer, &timer.id).await.map(drop)
    }

    async fn cancel(&self, service: ServiceName, id: &str) -> Result<(), TimerError> {
        let name = self.task(service, id);
        self.within(service, async |client| {
            match client.delete_task().set_name(&name).with_idempotency(true).send().await {
                Ok(()) => Ok(()),
                Err(error) if has_code(&error, Code::NotFound) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await
    }
}
