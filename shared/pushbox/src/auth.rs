//! Authentication of pushes. It guards `POST /` and `POST /relay`.

mod iam;
#[cfg(feature = "oidc")]
mod oidc;

#[cfg(feature = "oidc")]
pub use oidc::Oidc;

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};

use crate::{Problem, trace::only};

/// How pushes are authenticated.
#[derive(Clone)]
#[non_exhaustive]
pub enum PushAuth {
    /// For a service that only this machine can reach: pushes are not authenticated.
    None,
    /// For a private service.
    /// [Cloud Run](https://cloud.google.com/run/docs/authenticating/service-to-service) verifies the token. The
    /// service compares the token's e-mail address, because Cloud Run also admits operators.
    Iam {
        /// The e-mail address of the account that delivers pushes.
        service_account: Arc<str>,
    },
    /// For a service with public routes. The service verifies the token.
    #[cfg(feature = "oidc")]
    Oidc(Arc<Oidc>),
}

impl PushAuth {
    #[cfg_attr(not(feature = "oidc"), expect(clippy::unused_async))]
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::None => Ok(()),
            Self::Iam { service_account } => iam::check(headers, service_account),
            #[cfg(feature = "oidc")]
            Self::Oidc(oidc) => oidc.check(headers).await,
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, Problem> {
    only(headers, AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unauthorized("A push needs a bearer token."))
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

fn forbidden() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "The token belongs to another account.")
}
