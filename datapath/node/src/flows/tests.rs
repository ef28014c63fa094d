//! Events to flows, and the store.
