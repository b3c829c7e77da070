//! Receipts, transactions, effects and commands under failures. Time is tokio's, and paused: what
//! takes 20 seconds here takes none.

mod commands;
mod consumers;
mod effects;
mod rejections;
mod replays;
