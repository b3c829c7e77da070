//! Authentication of pushes. It guards `POST /` and `POST /relay`.

#[cfg(feature = "oidc")]
mod oidc;

#[cfg(feature = "oidc")]
pub use oidc::Oidc;

use axum::http::HeaderMap;

use crate::Problem;

/// How pushes are authenticated.
#[derive(Clone)]
#[non_exhaustive]
pub enum PushAuth {
    /// Not at all: for a service that only this machine can reach.
    None,
    /// [Cloud Run](https://cloud.google.com/run/docs/authenticating/service-to-service) has checked the
    /// caller before the request reached the service: for a private service.
    Iam,
    /// The service checks the token: for a service with public routes.
    #[cfg(feature = "oidc")]
    Oidc(std::sync::Arc<Oidc>),
}

impl PushAuth {
    #[cfg_attr(not(feature = "oidc"), expect(unused_variables, clippy::unused_async))]
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::None | Self::Iam => Ok(()),
            #[cfg(feature = "oidc")]
            Self::Oidc(oidc) => oidc.check(headers).await,
        }
    }
}
