//! The store contract, in memory. `emulators.rs` runs it on Firestore.

use pushbox::store::Memory;

crate::suite::contract::store_contract!(Memory::default());
