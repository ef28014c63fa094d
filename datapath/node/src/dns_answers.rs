//! Answers of a DNS server in the kernel, before its socket: the object `dns` at ingress of
//! the interface through which clients come.
//!
//! Nothing is loaded before the first answer is to be given, and nothing is pinned: link and
//! maps go with the process, however it ends. Filters of clsact would stay, so that kernels
//! before 6.6, which lacks TCX links, answer through the socket alone.

use std::io;
use std::time::Duration;

use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{SchedClassifier, TcAttachType};
use lab_datapath_common::dns::{ANSWERS, Answer, Question};
use lab_datapath_common::{Address, Port, maps, programs};
use lab_dns::hot::{AnswerTable, HotAnswer, NotInstalled, Place};
use nix::libc;
use nix::time::{ClockId, clock_gettime};

use crate::api::AttachMode;
use crate::ebpf_loader::without_kernel_btf;
use crate::verifier::{chain, refusal, verify};

/// Built from `datapath/ebpf/src/dns.rs` by `cargo xtask ebpf`.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/dns.bpf.o");
/// `BPF_NOEXIST`: entries are never written over, since a program may be reading one.
const NOEXIST: u64 = 1;
/// Bytes of a DNS message's ID, which stays the query's.
const ID: usize = 2;

/// Why the kernel gives no answers.
#[derive(Debug, thiserror::Error)]
pub enum DnsAnswersError {
    /// There are no links that end with the process.
    #[error("the kernel has no TCX links, which came with Linux 6.6")]
    Kernel,
    /// Nothing tells when programs are done with an answer that was removed.
    #[error("wait for programs on other CPUs (membarrier): {0}")]
    Barrier(io::Error),
    /// It takes CAP_BPF and CAP_NET_ADMIN.
    #[error("{what} the program for {interface}: {reason}")]
    Program {
        /// `load` or `attach`.
        what: &'static str,
        /// Where it was to be.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
}

/// The table of one interface, in the network namespace that first installs an answer.
pub struct DnsAnswers {
    interface: String,
    loaded: Option<Loaded>,
}

/// The program, attached, and its maps. Dropping it detaches the program.
struct Loaded {
    _program: aya::Ebpf,
    answers: HashMap<MapData, Question, Answer>,
    hits: PerCpuArray<MapData, u64>,
    /// By place: what is there, and what was counted at that place before.
    slots: Vec<Option<(Question, u64)>>,
    free: Vec<u32>,
}

impl DnsAnswers {
    /// For clients that come through `interface`. Looks at nothing yet.
    #[must_use]
    pub const fn new(interface: String) -> Self {
        Self {
            interface,
            loaded: None,
        }
    }

    fn loaded(&mut self) -> Result<&mut Loaded, DnsAnswersError> {
        match &mut self.loaded {
            Some(loaded) => Ok(loaded),
            none => Ok(none.insert(Loaded::new(&self.interface)?)),
        }
    }
}

impl AnswerTable for DnsAnswers {
    fn install(&mut self, answer: &HotAnswer<'_>) -> Result<Place, NotInstalled> {
        let Some((question, answer)) = prepared(answer) else {
            return Err(NotInstalled::Unfit);
        };
        let loaded = self.loaded();
        let loaded = loaded.map_err(|error| NotInstalled::Unavailable(error.to_string()))?;
        loaded.install(question, answer)
    }

    fn given(&self, place: Place) -> u64 {
        self.loaded
            .as_ref()
            .map_or(0, |loaded| loaded.given(place.0))
    }

    fn remove(&mut self, places: &[Place]) -> Vec<u64> {
        match &mut self.loaded {
            Some(loaded) => loaded.remove(places),
            None => vec![0; places.len()],
        }
    }
}

/// Key and value, slot and all; none if it doesn't fit.
fn prepared(answer: &HotAnswer<'_>) -> Option<(Question, Answer)> {
    let query = answer.query.get(ID..)?;
    let address = Address::from(*answer.server.ip());
    let question = Question::new(address, Port::new(answer.server.port()), query)?;
    let ttls: Option<Vec<u16>> = answer
        .ttls
        .iter()
        .map(|at| at.checked_sub(ID as u16))
        .collect();
    let mut prepared = Answer::new(query, answer.answer.get(ID..)?, answer.ttl, &ttls?)?;
    let now = monotonic();
    prepared.since_ns = nanoseconds(now.saturating_sub(answer.age));
    prepared.until_ns = nanoseconds(now + answer.left);
    Some((question, prepared))
}

impl Loaded {
    fn new(interface: &str) -> Result<Self, DnsAnswersError> {
        if AttachMode::of_kernel() != AttachMode::Tcx {
            return Err(DnsAnswersError::Kernel);
        }
        // What is needed later is tried now.
        barrier().map_err(DnsAnswersError::Barrier)?;
        let fault = |what, reason| DnsAnswersError::Program {
            what,
            interface: interface.to_owned(),
            reason,
        };
        let lacking = |name: &str| fault("load", format!("the object lacks {name}"));
        let mut ebpf = without_kernel_btf()
            .load(OBJECT)
            .map_err(|error| fault("load", chain(&error)))?;
        let program: &mut SchedClassifier = ebpf
            .program_mut(programs::DNS_CACHED)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| lacking(programs::DNS_CACHED))?;
        verify(|| program.load()).map_err(|error| fault("load", refusal(&error)))?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        program
            .attach_with_options(interface, TcAttachType::Ingress, order)
            .map_err(|error| fault("attach", chain(&error)))?;
        let mut map = |name| ebpf.take_map(name).ok_or_else(|| lacking(name));
        let (answers, hits) = (map(maps::DNS_ANSWERS)?, map(maps::DNS_HITS)?);
        Ok(Self {
            answers: HashMap::try_from(answers).map_err(|error| fault("load", chain(&error)))?,
            hits: PerCpuArray::try_from(hits).map_err(|error| fault("load", chain(&error)))?,
            _program: ebpf,
            slots: vec![None; ANSWERS],
            free: (0..ANSWERS as u32).rev().collect(),
        })
    }

    fn install(&mut self, question: Question, mut answer: Answer) -> Result<Place, NotInstalled> {
        let slot = self.free.pop().ok_or(NotInstalled::Unfit)?;
        answer.slot = slot;
        let before = self.hits(slot);
        if self.answers.insert(question, answer, NOEXIST).is_err() {
            self.free.push(slot);
            return Err(NotInstalled::Unfit);
        }
        self.slots[slot as usize] = Some((question, before));
        Ok(Place(slot))
    }

    fn given(&self, slot: u32) -> u64 {
        let there = self.slots.get(slot as usize).and_then(Option::as_ref);
        there.map_or(0, |(_, before)| self.hits(slot).wrapping_sub(*before))
    }

    fn remove(&mut self, places: &[Place]) -> Vec<u64> {
        for place in places {
            if let Some(Some((question, _))) = self.slots.get(place.0 as usize) {
                // One that is gone is removed.
                let _ = self.answers.remove(question);
            }
        }
        // The kernel uses the memory of what was removed again at once. Until no program
        // has it any more, nothing may be installed, and counts aren't final.
        let done = barrier().is_ok();
        let mut given = Vec::with_capacity(places.len());
        for place in places {
            given.push(self.given(place.0));
            let slot = self.slots.get_mut(place.0 as usize);
            if slot.is_some_and(|slot| slot.take().is_some()) && done {
                self.free.push(place.0);
            }
        }
        given
    }

    /// What all CPUs counted.
    fn hits(&self, slot: u32) -> u64 {
        let counted = self.hits.get(&slot, 0);
        counted.map_or(0, |counted| {
            counted.iter().fold(0, |a, b| a.wrapping_add(*b))
        })
    }
}

/// Returns when every program that ran when it was called has ended: the kernel waits for
/// a grace period of RCU (`kernel/sched/membarrier.c`).
fn barrier() -> io::Result<()> {
    let command = libc::MEMBARRIER_CMD_GLOBAL;
    // SAFETY: the call takes three numbers.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The clock that programs go by.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
