//! Connection tracking: who opened a flow, and until when it is alive.
//!
//! An OUT entry is a flow that a local endpoint (or the host, when its port is
//! reserved) opened, an IN entry one that was opened towards an endpoint. The
//! key is always the opener's view.
//!
//! ```text
//!               SYN            any other packet
//!   (none) ──► attempt ─60 s─► established ─8000 s─►
//!                                  │ RST, or FIN from both sides
//!                                  ▼
//!                                closed ─10 s─►   a new SYN starts over
//! ```

use crate::drop_reason::DropReason;
use crate::kernel::{Kernel, Maps};
use crate::trace::reason;
use crate::tuple::{Direction, Tuple, protocol};

/// Lifetimes in seconds, as Cilium's flags default to.
pub mod timeout {
    /// An established TCP connection (`--bpf-ct-timeout-regular-tcp`).
    pub const TCP: u32 = 8000;
    /// A TCP connection of which only a SYN was seen (`…-regular-tcp-syn`).
    pub const TCP_SYN: u32 = 60;
    /// A TCP connection closed by both FINs or a RST (`…-regular-tcp-fin`).
    pub const TCP_CLOSE: u32 = 10;
    /// Any other protocol (`--bpf-ct-timeout-regular-any`).
    pub const ANY: u32 = 60;
}

/// Bits of [`CtEntry::flags`]; values as in Cilium's `struct ct_entry`.
pub mod flag {
    /// The responder closed (FIN), or a RST was seen.
    pub const RX_CLOSING: u16 = 1 << 0;
    /// The initiator closed (FIN), or a RST was seen.
    pub const TX_CLOSING: u16 = 1 << 1;
    /// TCP: a packet without SYN was seen, so it is more than an attempt.
    pub const SEEN_NON_SYN: u16 = 1 << 4;
}

/// Value of `cilium_ct4_global` and `cilium_ct_any4_global`. "tx" is from the
/// initiator (the key's source), "rx" is towards it. Counters are not atomic:
/// when two CPUs carry the same direction of one flow at once, one count may be
/// lost. Nothing is decided by them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtEntry {
    /// Packets from the initiator.
    pub tx_packets: u64,
    /// Bytes from the initiator, Ethernet header included.
    pub tx_bytes: u64,
    /// Packets from the responder.
    pub rx_packets: u64,
    /// Bytes from the responder, Ethernet header included.
    pub rx_bytes: u64,
    /// When the entry dies, in seconds of `CLOCK_MONOTONIC`.
    pub lifetime: u32,
    /// Last packet from the initiator that was due to be reported, in seconds of
    /// `CLOCK_MONOTONIC`.
    pub last_tx_report: u32,
    /// Last packet from the responder that was due to be reported.
    pub last_rx_report: u32,
    /// Bits of [`flag`].
    pub flags: u16,
    /// TCP flags seen from the initiator, ored.
    pub tx_flags_seen: u8,
    /// TCP flags seen from the responder, ored.
    pub rx_flags_seen: u8,
    /// Of a client's flow to a service: the backend's id.
    pub backend: u32,
    /// The service that the flow belongs to, or 0.
    pub rev_nat_index: u16,
    /// Zero.
    pub padding: u16,
}

/// TCP flags byte, RFC 9293.
mod tcp {
    pub(super) const FIN: u8 = 1 << 0;
    pub(super) const SYN: u8 = 1 << 1;
    pub(super) const RST: u8 = 1 << 2;
    pub(super) const ACK: u8 = 1 << 4;
}

/// What conntrack says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first packet of a flow.
    New,
    /// A packet from the side that opened the flow.
    Established,
    /// A packet from the other side.
    Reply,
}

/// A [`Verdict`], and whether an event about the packet is due. One byte, so that a
/// `Result` around it has no part that is unset when it is an error: the verifier refuses
/// to have such parts moved, even if nothing comes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tracked(u8);

impl Tracked {
    const DUE: u8 = 1 << 7;
    /// Not tracked here: an event is due for each packet.
    pub const UNKNOWN: Self = Self(reason::UNKNOWN | Self::DUE);
    /// An ICMP error: as [`Tracked::UNKNOWN`], and yet known to be about a flow.
    pub const RELATED: Self = Self(reason::RELATED | Self::DUE);

    #[inline(always)]
    const fn new(verdict: Verdict, is_due: bool) -> Self {
        let reason = match verdict {
            Verdict::New => reason::NEW,
            Verdict::Established => reason::ESTABLISHED,
            Verdict::Reply => reason::REPLY,
        };
        Self(reason | if is_due { Self::DUE } else { 0 })
    }

    /// One of [`reason`].
    #[inline(always)]
    #[must_use]
    pub const fn reason(self) -> u8 {
        self.0 & !Self::DUE
    }

    /// Whether the packet opens a flow, closes it, has a TCP flag that its side had not
    /// sent before, or is the first of its side in an interval.
    #[inline(always)]
    #[must_use]
    pub const fn is_due(self) -> bool {
        self.0 & Self::DUE != 0
    }

    /// What conntrack said; `None` when the packet is not tracked.
    #[must_use]
    pub const fn verdict(self) -> Option<Verdict> {
        match self.reason() {
            reason::NEW => Some(Verdict::New),
            reason::ESTABLISHED => Some(Verdict::Established),
            reason::REPLY => Some(Verdict::Reply),
            _ => None,
        }
    }

    /// As a number, for [`Tracked::from_bits`].
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// What [`Tracked::bits`] made of it.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

/// Who sent a packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Initiator,
    Responder,
}

/// What is to be done with the entries of a packet's flow. In the kernel it is a function for those
/// that count the packet ([`Maps::track`]), and one for the others ([`Maps::mark`]): the verifier
/// walks each for itself, in the programs that call it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// See [`from_endpoint`].
    FromEndpoint = 0,
    /// See [`to_endpoint`].
    ToEndpoint = 1,
    /// See [`from_host`].
    FromHost = 2,
    /// See [`masqueraded_reply`].
    MasqueradedReply = 3,
    /// See [`ensure_masqueraded`].
    EnsureMasqueraded = 4,
    /// See [`mark_service`]: a flow that was opened here.
    MarkServiceOut = 5,
    /// See [`mark_service`]: a flow that was opened towards this side.
    MarkServiceIn = 6,
}

/// A [`Step`], and what else it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// What is to be done.
    pub step: Step,
    /// The packet's TCP flags.
    pub tcp_flags: u8,
    /// The service, for [`mark_service`].
    pub rev_nat_index: u16,
}

impl Task {
    #[inline(always)]
    const fn new(step: Step, tcp_flags: u8) -> Self {
        Self {
            step,
            tcp_flags,
            rev_nat_index: 0,
        }
    }

    /// As one argument of a function of the kernel's.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u32 {
        self.step as u32 | (self.tcp_flags as u32) << 8 | (self.rev_nat_index as u32) << 16
    }

    /// What [`Task::to_word`] made of it. An unknown step is the last one.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        let step = match word as u8 {
            0 => Step::FromEndpoint,
            1 => Step::ToEndpoint,
            2 => Step::FromHost,
            3 => Step::MasqueradedReply,
            4 => Step::EnsureMasqueraded,
            5 => Step::MarkServiceOut,
            _ => Step::MarkServiceIn,
        };
        Self {
            step,
            tcp_flags: (word >> 8) as u8,
            rev_nat_index: (word >> 16) as u16,
        }
    }
}

/// Tracks a packet that a local endpoint sent.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn from_endpoint<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
) -> Result<Tracked, DropReason> {
    k.track(tuple, Task::new(Step::FromEndpoint, tcp_flags))
}

/// Tracks a packet on its way to a local endpoint.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn to_endpoint<K: Kernel>(k: &K, tuple: &Tuple, tcp_flags: u8) -> Result<Tracked, DropReason> {
    k.track(tuple, Task::new(Step::ToEndpoint, tcp_flags))
}

/// Tracks a packet of the host itself, whose port NAT reserves.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn from_host<K: Kernel>(k: &K, tuple: &Tuple, tcp_flags: u8) -> Result<Tracked, DropReason> {
    k.track(tuple, Task::new(Step::FromHost, tcp_flags))
}

/// Tracks a reply whose translation was just undone. It belongs to a flow that
/// was opened here, whatever conntrack still knows: an entry lost to eviction is
/// made again as OUT, never as IN, or else the flow's next packet would pass for
/// a reply and leave untranslated.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn masqueraded_reply<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
) -> Result<Tracked, DropReason> {
    k.track(tuple, Task::new(Step::MasqueradedReply, tcp_flags))
}

/// As [`masqueraded_reply`], for a packet that [`to_endpoint`] will see again:
/// only makes sure that the entry is there, and counts nothing.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn ensure_masqueraded<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
) -> Result<(), DropReason> {
    k.ensure(tuple, Task::new(Step::EnsureMasqueraded, tcp_flags))
}

/// Makes sure that a flow to a backend is there and says which service it is of, and
/// counts nothing: whoever tracks the packet does.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn mark_service<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    direction: Direction,
    tcp_flags: u8,
    rev_nat_index: u16,
) -> Result<(), DropReason> {
    let step = match direction {
        Direction::In => Step::MarkServiceIn,
        _ => Step::MarkServiceOut,
    };
    let task = Task {
        rev_nat_index,
        ..Task::new(step, tcp_flags)
    };
    k.ensure(tuple, task)
}

/// What [`Maps::track`] does: looks for the packet's flow as one that was opened here, then, where
/// that may be, as one that was opened towards this side; and makes the entry of a new one.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn track<K: Kernel>(k: &K, tuple: &Tuple, task: Task) -> Result<Tracked, DropReason> {
    let is_sent_here = matches!(task.step, Step::FromEndpoint | Step::FromHost);
    let is_either = matches!(task.step, Step::FromEndpoint | Step::ToEndpoint);
    // One look in a loop, rather than two: each that LLVM finds is a function with a frame of its
    // own, and a program has 512 bytes for all of them.
    for direction in [Direction::Out, Direction::In] {
        if matches!(direction, Direction::In) && !is_either {
            break;
        }
        let (key, sender) = entry_of(tuple, direction, is_sent_here);
        let verdict = match sender {
            Sender::Initiator => Verdict::Established,
            Sender::Responder => Verdict::Reply,
        };
        match see(k, &key, sender, task.tcp_flags) {
            Seen::Due => return Ok(Tracked::new(verdict, true)),
            Seen::Before => return Ok(Tracked::new(verdict, false)),
            Seen::Never => {}
        }
    }
    let direction = match task.step {
        Step::ToEndpoint => Direction::In,
        _ => Direction::Out,
    };
    let (key, sender) = entry_of(tuple, direction, is_sent_here);
    create(k, &key, sender, task.tcp_flags)?;
    let verdict = match sender {
        Sender::Initiator => Verdict::New,
        Sender::Responder => Verdict::Reply,
    };
    Ok(Tracked::new(verdict, true))
}

/// The entry of a packet's flow, if that was opened here (`Out`) or towards this side (`In`), and
/// which end the packet comes from.
#[inline(always)]
fn entry_of(tuple: &Tuple, direction: Direction, is_sent_here: bool) -> (Tuple, Sender) {
    let is_openers = is_sent_here == matches!(direction, Direction::Out);
    if is_openers {
        (tuple.with_direction(direction), Sender::Initiator)
    } else {
        (
            tuple.reversed().with_direction(direction),
            Sender::Responder,
        )
    }
}

/// Whether the packet answers a flow that was opened towards its sender.
#[inline(always)]
pub fn is_reply<M: Maps>(maps: &M, tuple: &Tuple) -> bool {
    let key = tuple.reversed().with_direction(Direction::In);
    maps.ct_update(&key, |entry| entry.lifetime > maps.now()) == Some(true)
}

/// The backend that a client's flow to a service has, if it has one of that service.
/// Notes the packet in that flow.
#[inline(always)]
pub fn service_backend<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
    rev_nat_index: u16,
) -> Option<u32> {
    let key = tuple.with_direction(Direction::Service);
    let is_tcp = key.protocol == protocol::TCP;
    let now = k.now();
    let length = k.length();
    k.ct_update(&key, |entry| {
        let sender = Sender::Initiator;
        let is_reopened = is_tcp && entry.is_reopened_by(sender, tcp_flags);
        if entry.lifetime <= now || is_reopened || entry.rev_nat_index != rev_nat_index {
            return 0;
        }
        entry.note(sender, tcp_flags, length);
        entry.refresh(is_tcp, sender, tcp_flags, now);
        entry.backend
    })
}

/// The backend that a client has of a service, whichever that is.
#[inline(always)]
pub fn backend_of<M: Maps>(maps: &M, flow: &Tuple) -> Option<u32> {
    let key = flow.with_direction(Direction::Service);
    maps.ct_update(&key, |entry| entry.backend)
}

/// Remembers which backend a client's flow to a service has.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn open_service<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    tcp_flags: u8,
    backend: u32,
    rev_nat_index: u16,
) -> Result<(), DropReason> {
    let key = tuple.with_direction(Direction::Service);
    let now = k.now();
    let mut entry = CtEntry {
        backend,
        rev_nat_index,
        ..CtEntry::default()
    };
    entry.note(Sender::Initiator, tcp_flags, k.length());
    let is_tcp = key.protocol == protocol::TCP;
    entry.refresh(is_tcp, Sender::Initiator, tcp_flags, now);
    k.ct_create(&key, &entry)
        .map_err(|_| DropReason::CtCreateFailed)
}

/// What [`Maps::mark`] does: makes sure that the flow's entry is there, and says which service it
/// is of, unless that is not asked.
///
/// # Errors
/// [`DropReason::CtCreateFailed`].
#[inline(always)]
pub fn ensure<M: Maps>(maps: &M, tuple: &Tuple, task: Task) -> Result<(), DropReason> {
    let Task {
        step,
        tcp_flags,
        rev_nat_index,
    } = task;
    let is_service = !matches!(step, Step::EnsureMasqueraded);
    // A copy: before Linux 6.2 the verifier takes no memory of a caller for a map's key.
    let key = match step {
        Step::EnsureMasqueraded => tuple.reversed().with_direction(Direction::Out),
        Step::MarkServiceIn => tuple.with_direction(Direction::In),
        _ => tuple.with_direction(Direction::Out),
    };
    let is_tcp = key.protocol == protocol::TCP;
    let now = maps.now();
    let is_there = maps.ct_update(&key, |entry| {
        if entry.lifetime <= now {
            return false;
        }
        if is_service {
            if is_tcp && entry.is_reopened_by(Sender::Initiator, tcp_flags) {
                return false;
            }
            entry.rev_nat_index = rev_nat_index;
        }
        true
    });
    if is_there == Some(true) {
        return Ok(());
    }
    let mut entry = CtEntry {
        rev_nat_index,
        ..CtEntry::default()
    };
    entry.lifetime = entry.next_lifetime(is_tcp, tcp_flags, now);
    maps.ct_create(&key, &entry)
        .map_err(|_| DropReason::CtCreateFailed)
}

/// The service that a live flow belongs to.
#[inline(always)]
pub fn service_of<M: Maps>(maps: &M, flow: &Tuple) -> Option<u16> {
    let now = maps.now();
    let index = maps.ct_update(flow, |entry| {
        if entry.lifetime > now {
            entry.rev_nat_index
        } else {
            0
        }
    })?;
    if index == 0 { None } else { Some(index) }
}

/// What became of a packet and the entry of its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// There is no live entry.
    Never,
    /// Noted, and nothing about it is new.
    Before,
    /// Noted, and an event is due.
    Due,
}

/// Notes the packet in the entry, if there is a live one.
#[inline(always)]
fn see<K: Kernel>(k: &K, key: &Tuple, sender: Sender, tcp_flags: u8) -> Seen {
    let length = k.length();
    let is_tcp = key.protocol == protocol::TCP;
    let seen = k.ct_update(key, |entry| {
        let now = k.now();
        if entry.lifetime <= now || (is_tcp && entry.is_reopened_by(sender, tcp_flags)) {
            return Seen::Never;
        }
        let is_due = entry.is_due(sender, tcp_flags, now, k.settings().report_interval);
        entry.note(sender, tcp_flags, length);
        entry.refresh(is_tcp, sender, tcp_flags, now);
        if is_due { Seen::Due } else { Seen::Before }
    });
    match seen {
        Some(seen) => seen,
        None => Seen::Never,
    }
}

#[inline(always)]
fn create<K: Kernel>(k: &K, key: &Tuple, sender: Sender, tcp_flags: u8) -> Result<(), DropReason> {
    let now = k.now();
    let mut entry = CtEntry::default();
    entry.is_due(sender, tcp_flags, now, 0);
    entry.note(sender, tcp_flags, k.length());
    entry.refresh(key.protocol == protocol::TCP, sender, tcp_flags, now);
    k.ct_create(key, &entry)
        .map_err(|_| DropReason::CtCreateFailed)
}

impl CtEntry {
    /// Whether a new connection reuses the ports of a closing one.
    #[inline(always)]
    const fn is_reopened_by(&self, sender: Sender, tcp_flags: u8) -> bool {
        matches!(sender, Sender::Initiator)
            && tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
            && self.flags & (flag::RX_CLOSING | flag::TX_CLOSING) != 0
    }

    /// Whether an event about this packet is due, before it is noted; if so, that is on
    /// record. As `__ct_update_timeout` and `ACTION_CLOSE` in Cilium's `lib/conntrack.h`,
    /// with every TCP flag counting (`bpf.monitorFlags: all`): what closes a flow, and
    /// whatever comes after it is closed, is always reported.
    #[inline(always)]
    fn is_due(&mut self, sender: Sender, tcp_flags: u8, now: u32, interval: u32) -> bool {
        let both = flag::RX_CLOSING | flag::TX_CLOSING;
        let (seen, last) = match sender {
            Sender::Initiator => (self.tx_flags_seen, &mut self.last_tx_report),
            Sender::Responder => (self.rx_flags_seen, &mut self.last_rx_report),
        };
        let is_due = tcp_flags & !seen != 0
            || tcp_flags & (tcp::FIN | tcp::RST) != 0
            || self.flags & both == both
            || last.saturating_add(interval) < now;
        if is_due {
            *last = now;
        }
        is_due
    }

    #[inline(always)]
    fn note(&mut self, sender: Sender, tcp_flags: u8, length: u32) {
        match sender {
            Sender::Initiator => {
                self.tx_packets += 1;
                self.tx_bytes += u64::from(length);
                self.tx_flags_seen |= tcp_flags;
            }
            Sender::Responder => {
                self.rx_packets += 1;
                self.rx_bytes += u64::from(length);
                self.rx_flags_seen |= tcp_flags;
            }
        }
    }

    #[inline(always)]
    fn refresh(&mut self, is_tcp: bool, sender: Sender, tcp_flags: u8, now: u32) {
        if !is_tcp {
            self.lifetime = now + timeout::ANY;
            return;
        }
        let both = flag::RX_CLOSING | flag::TX_CLOSING;
        if self.flags & both == both {
            return;
        }
        if tcp_flags & tcp::RST != 0 {
            self.flags |= both;
        } else if tcp_flags & tcp::FIN != 0 {
            self.flags |= match sender {
                Sender::Initiator => flag::TX_CLOSING,
                Sender::Responder => flag::RX_CLOSING,
            };
        }
        if tcp_flags & tcp::SYN == 0 {
            self.flags |= flag::SEEN_NON_SYN;
        }
        self.lifetime = self.next_lifetime(is_tcp, tcp_flags, now);
    }

    #[inline(always)]
    const fn next_lifetime(&self, is_tcp: bool, tcp_flags: u8, now: u32) -> u32 {
        let both = flag::RX_CLOSING | flag::TX_CLOSING;
        now + if !is_tcp {
            timeout::ANY
        } else if self.flags & both == both {
            timeout::TCP_CLOSE
        } else if self.flags & flag::SEEN_NON_SYN != 0 || tcp_flags & tcp::SYN == 0 {
            timeout::TCP
        } else {
            timeout::TCP_SYN
        }
    }
}
