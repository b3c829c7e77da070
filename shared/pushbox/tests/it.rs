//! Tests of the runtime through its public API. They are one binary, because each binary links all
//! dependencies again.

mod contract;
mod examples;
mod iam;
mod intake;
mod oidc;
mod routes;
mod signed_in;
mod suite;
mod transactions;
