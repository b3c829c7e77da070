//! The runtime, seen from outside: one program, since each one would link everything once more.

mod contract;
mod intake;
mod oidc;
mod routes;
mod suite;
mod transactions;
