//! `lab-dns`: cluster DNS, and the DNS cache of each node.
//!
//! It reads CoreDNS's Corefile and behaves as CoreDNS 1.13 and node-cache do, in
//! their words: plugins, log lines, metrics. What it adds to them is speed: answers
//! out of the cache are made without allocation, on the thread that received the query.
//!
//! The way of a query: [`server`] receives it on one of its sockets, [`message`]
//! reads it, the server block whose zone is the longest that fits (a
//! [`site::Site`]) answers it from its cache or from local data (`kubernetes`,
//! `hosts`, `template`), or sends it on with `forward`; the answer goes into the
//! cache, is fitted to the client (EDNS, size), counted and logged.
//!
//! Nothing here knows of labs: the Corefile, the cluster's records
//! ([`kubernetes::Records`]), the clock and the sockets come from outside.

pub mod cache;
pub mod clock;
pub mod config;
pub mod corefile;
mod errors;
mod forward;
pub mod hosts;
pub mod hot;
pub mod http;
pub mod kubernetes;
pub mod loadbalance;
pub mod log;
pub mod loop_detection;
pub mod message;
pub mod metrics;
pub mod plugin;
mod random;
pub mod reload;
pub mod server;
pub mod service;
pub mod template;
pub mod upstream;
pub mod zone;
