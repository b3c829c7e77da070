//! The store contract, in memory. `emulators/firestore.rs` runs it on Firestore.

use pushbox::store::Memory;

pushbox::store_contract!(Memory::default());
