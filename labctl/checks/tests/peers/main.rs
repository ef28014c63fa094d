//! labctl's reading of packets beside that of tshark and tcpdump.
//!
//! Both peers must be installed: without them these tests fail.

mod tcpdump;
mod traffic;
mod tshark;
