//! The query that goes upstream.

use domain::base::Header;

use crate::message::{HEADER, Query};

/// The client's question under `id`: its spelling, RD, CD and AD, and an OPT record
/// with its size and DO if it had one. Options stay behind: they are between two
/// neighbours (RFC 6891 §6.1.2; RFC 7873 §5 for cookies).
pub(crate) fn upstream_query(query: &Query<'_>, bufsize: Option<u16>, id: u16) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    let asked = query.header();
    let header = Header::for_message_slice_mut(&mut message);
    header.set_id(id);
    header.set_rd(asked.rd());
    header.set_cd(asked.cd());
    header.set_ad(asked.ad());
    message[5] = 1;
    message.extend_from_slice(query.question());
    if let Some(edns) = query.edns() {
        let size = bufsize.map_or(edns.udp_size, |most| most.min(edns.udp_size));
        let [high, low] = size.to_be_bytes();
        let flags = if edns.dnssec_ok { 0x80 } else { 0 };
        message.extend([0, 0, 41, high, low, 0, 0, flags, 0, 0, 0]);
        message[11] = 1;
    }
    message
}
