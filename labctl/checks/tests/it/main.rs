//! The crate as its users see it: peers' judgement of packets, the judge, shipped files.
//!
//! tshark and tcpdump must be installed: without them these tests fail.

mod captures;
mod check_files;
mod judge;
mod lab;
mod tcpdump;
mod traffic;
mod tshark;
