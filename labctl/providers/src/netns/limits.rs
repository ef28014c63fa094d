//! Open files: a large lab needs more than the usual 1024.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that a run has open for each node at most: its namespace, its
/// netlink socket, a pidfd, a readiness pipe, a log and a connection, and the
/// pause process's while it is started.
const PER_NODE: u64 = 8;
/// Descriptors that a run has open besides.
const BESIDES: u64 = 64;

/// Raises this process's soft limit, as far as the hard one allows, when `nodes`
/// need it. Should it not be enough, whatever lacks a descriptor says so.
pub(super) fn make_room_for(nodes: usize) {
    let needed = u64::try_from(nodes)
        .unwrap_or(u64::MAX)
        .saturating_mul(PER_NODE);
    let needed = needed.saturating_add(BESIDES);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < needed
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard);
    }
}
