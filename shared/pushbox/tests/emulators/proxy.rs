//! A proxy that records calls and can lose answers.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tower::ServiceExt;

/// A gRPC proxy on its own port.
#[derive(Clone)]
pub struct Proxy {
    pub url: String,
    calls: Arc<Mutex<Vec<String>>>,
    loses_next_answer: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts a proxy that forwards each call to the server at `target`.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            calls: Arc::default(),
            loses_next_answer: Arc::default(),
            hangs: Arc::default(),
        };
        let channel = Channel::from_shared(format!("http://{target}")).expect("a URL").connect_lazy();
        let app = Router::new().fallback({
            let proxy = proxy.clone();
            move |request| proxy.forward(channel, request)
        });
        tokio::spawn(async { axum::serve(listener, app).await });
        proxy
    }

    async fn forward(self, channel: Channel, request: Request) -> Response {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        self.calls.lock().expect("a lock").push(method);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let response = channel.oneshot(request.map(tonic::body::Body::new)).await.expect("an answer");
        if self.loses_next_answer.swap(false, Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        response.map(Body::new)
    }

    /// The methods that were called since the last `take_calls`, in order.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().expect("a lock"))
    }

    /// Forwards the next call but loses its answer.
    pub fn lose_next_answer(&self) {
        self.loses_next_answer.store(true, Ordering::SeqCst);
    }

    /// Forwards and answers nothing from now on.
    pub fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }
}
