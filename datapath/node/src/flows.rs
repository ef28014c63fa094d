//! What passes a node, remembered: events of the datapath go into a bounded store, and
//! become [`Flow`]s when someone reads them.
//!
//! ```text
//!   cilium_events ──► [`reader`] ──► [`store`]
//!                                        │ [`parse`] with the [`Directory`], filter
//!           agent.sock, port 4244 ◄── [`serve`]
//! ```
//!
//! Nobody waits for anybody: a full ring buffer loses events and counts them, the store
//! drops its oldest, and a reader that is slower than the store's turnover is told how
//! many flows it missed.

mod directory;
mod entry;
mod filter;
mod flow;
mod icmp;
mod node_flows;
mod parse;
mod peers;
mod reader;
mod serve;
mod store;

pub(crate) use directory::reserved_name;
pub use filter::{Condition, FilterError, FlowFilter, Side, TypeFilter};
pub use flow::{
    Endpoint, Ethernet, EventType, Flow, Icmp, Interface, Ip, Layer4, LostEvents, Ports, Record,
    ServiceName, Tcp, TcpFlags, Verdict,
};
pub(crate) use node_flows::NodeFlows;
pub(crate) use peers::PORT;
pub(crate) use reader::{Events, Now};

#[cfg(test)]
mod tests;
