//! What conntrack is asked, as one word: so it can be passed to a function of the kernel's.

/// What is to be done with the entries of a packet's flow. In the kernel it is a function for those
/// that count the packet ([`Maps::track`](crate::kernel::Maps::track)), and one for the others
/// ([`Maps::ensure`](crate::kernel::Maps::ensure)): the verifier walks each for itself, in the
/// programs that call it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// See [`from_endpoint`](super::from_endpoint).
    FromEndpoint = 0,
    /// See [`to_endpoint`](super::to_endpoint).
    ToEndpoint = 1,
    /// See [`from_host`](super::from_host).
    FromHost = 2,
    /// See [`masqueraded_reply`](super::masqueraded_reply).
    MasqueradedReply = 3,
    /// See [`ensure_masqueraded`](super::ensure_masqueraded).
    EnsureMasqueraded = 4,
    /// See [`mark_service`](super::mark_service): a flow that was opened here.
    MarkServiceOut = 5,
    /// See [`mark_service`](super::mark_service): a flow that was opened towards this side.
    MarkServiceIn = 6,
}

/// A [`Step`], and what else it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// What is to be done.
    pub step: Step,
    /// The packet's TCP flags.
    pub tcp_flags: u8,
    /// The service, for [`mark_service`](super::mark_service).
    pub rev_nat_index: u16,
}

impl Task {
    #[inline(always)]
    pub(super) const fn new(step: Step, tcp_flags: u8) -> Self {
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
