//! What a name below the cluster's zone asks for.

/// The parts of a name, each in wire format (with its length), as far as they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// The zone itself.
    Apex,
    /// `svc` or `pod`, or another name that only has names below it.
    Empty,
    /// `dns-version`
    Version,
    /// `ns.dns`, the zone's name server.
    NameServer,
    /// `NAMESPACE.svc` or `NAMESPACE.pod`
    Namespace(&'a [u8]),
    /// `SERVICE.NAMESPACE.svc`, those two labels together.
    Service(&'a [u8]),
    /// `ENDPOINT.SERVICE.NAMESPACE.svc`
    Endpoint {
        endpoint: &'a [u8],
        service: &'a [u8],
    },
    /// `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc`, underscores gone.
    Port {
        port: &'a [u8],
        protocol: &'a [u8],
        service: &'a [u8],
    },
    /// `NAME.NAMESPACE.pod`
    Pod { pod: &'a [u8], namespace: &'a [u8] },
    /// Nothing that can exist.
    Unknown,
}

/// Labels of the longest name that means something.
const MAX_LABELS: usize = 5;

impl<'a> Request<'a> {
    /// Reads `base`: the name in lower case, the zone cut off.
    pub(super) fn read(base: &'a [u8]) -> Self {
        let mut starts = [0; MAX_LABELS + 1];
        let mut count = 0;
        let mut at = 0;
        while at < base.len() {
            if count == MAX_LABELS {
                return Self::Unknown;
            }
            starts[count] = at;
            count += 1;
            at += 1 + usize::from(base[at]);
        }
        // The last label's end, and that of the one before.
        starts[count] = base.len();
        let label = |n: usize| &base[starts[n]..starts[n + 1]];
        let Some(last) = count.checked_sub(1) else {
            return Self::Apex;
        };
        match (label(last), last) {
            (b"\x0bdns-version", 0) => Self::Version,
            (b"\x03dns", 0) => Self::Empty,
            (b"\x03dns", 1) if label(0) == b"\x02ns" => Self::NameServer,
            (b"\x03svc" | b"\x03pod", 0) => Self::Empty,
            (b"\x03svc" | b"\x03pod", 1) => Self::Namespace(label(0)),
            (b"\x03svc", 2) => Self::Service(&base[..starts[2]]),
            (b"\x03svc", 3) => Self::Endpoint {
                endpoint: label(0),
                service: &base[starts[1]..starts[3]],
            },
            (b"\x03svc", 4) => Self::Port {
                port: without_underscore(label(0)),
                protocol: without_underscore(label(1)),
                service: &base[starts[2]..starts[4]],
            },
            (b"\x03pod", 2) => Self::Pod {
                pod: &label(0)[1..],
                namespace: label(1),
            },
            _ => Self::Unknown,
        }
    }
}

/// The text of a label. CoreDNS takes `http.tcp` for `_http._tcp` too.
fn without_underscore(label: &[u8]) -> &[u8] {
    let text = &label[1..];
    text.strip_prefix(b"_").unwrap_or(text)
}
