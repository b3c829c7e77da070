//! The store contract, in memory. `emulators.rs` runs it on Firestore.

use pushbox::store::Memory;

pushbox::store_contract!(Memory::default());
