//! One tcpdump, from "listening on" to the last packet.
//!
//! ```text
//! start ── "listening on" ──► listening ── SIGUSR1 until settled ──► SIGINT ──► end of file
//! ```
//!
//! A packet that must *not* be there can only be judged once every packet that came
//! is in the file. tcpdump 4.9 and later answers SIGUSR1 with how many packets it
//! has written, and how many the kernel has taken and dropped for it; when those
//! balance, nothing is under way. (tcpdump.c, `requestinfo`, which waits for a
//! packet that is being written.)

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use lab_providers::Process;
use nix::sys::signal::Signal;

use super::wait::{Bell, Unmet, lock};
use super::words::{Counts, Words};
use crate::interrupt::Interrupt;

/// Bytes kept of a packet: headers, and what fits into an MTU of 1500.
///
/// libpcap gives every packet of its ring this much room. Without a limit that is
/// 64 KiB on interfaces with segmentation offload, as veth has, and the ring of
/// 2 MiB is full after 32 packets (pcap-linux.c, `create_ring`).
const SNAPLEN: &str = "2048";

/// KiB of the ring: about 8000 packets.
const RING: &str = "16384";

/// The arguments of a tcpdump that writes to standard output, packet by packet.
///
/// It stays root: who becomes another user is no longer asked to end with its parent (prctl(2),
/// `PR_SET_PDEATHSIG`), and a killed check would leave it running in the lab.
pub(super) fn tcpdump(interface: &str, filter: &str) -> Vec<String> {
    let how = [
        "-n",
        "-U",
        "--immediate-mode",
        "-s",
        SNAPLEN,
        "-B",
        RING,
        "-Z",
        "root",
        "-w",
        "-",
    ];
    let argv = ["tcpdump", "-i", interface]
        .into_iter()
        .chain(how)
        .chain(["--", filter]);
    argv.map(str::to_owned).collect()
}

/// Why a capture proves nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaptureError {
    /// It ended by itself; its own words say why.
    #[error("capture: {0}")]
    Ended(String),
    /// The deadline passed.
    #[error("capture: tcpdump did not {0} in time")]
    Late(&'static str),
    /// An interrupt came.
    #[error("capture: interrupted")]
    Interrupted,
}

/// A running tcpdump.
pub(super) struct Capture {
    process: Process,
    bell: Bell,
    pcap: Arc<Mutex<Vec<u8>>>,
    words: Arc<Mutex<Words>>,
    readers: Vec<JoinHandle<()>>,
    /// On loopback the kernel counts each packet twice, leaving and arriving, and
    /// libpcap passes on the second (pcap-linux.c, `linux_check_direction`).
    counted_twice: bool,
    /// Packets that came between the socket's birth and its filter: counted by the
    /// kernel, thrown away by libpcap.
    unfiltered: u64,
}

/// Everything a capture got.
pub(super) struct Captured {
    /// The file.
    pub(super) pcap: Vec<u8>,
    /// Packets that the kernel had no room for.
    pub(super) dropped: u64,
}

impl Capture {
    /// Reads from `process`, started with [`tcpdump`]'s arguments for that interface.
    pub(super) fn start(mut process: Process, interface: &str, bell: &Bell) -> Self {
        let pcap = Arc::new(Mutex::new(Vec::new()));
        let words = Arc::new(Mutex::new(Words::default()));
        let readers = [
            process
                .stdout
                .take()
                .map(|pipe| read_pcap(pipe, &pcap, bell)),
            process
                .stderr
                .take()
                .map(|pipe| read_words(pipe, &words, bell)),
        ];
        Self {
            process,
            bell: bell.clone(),
            pcap,
            words,
            readers: readers.into_iter().flatten().collect(),
            counted_twice: interface == "lo",
            unfiltered: 0,
        }
    }

    /// Waits until every packet that comes from now on is captured.
    pub(super) fn listening(
        &mut self,
        deadline: Instant,
        interrupt: &Interrupt,
    ) -> Result<(), CaptureError> {
        self.wait("listen", deadline, interrupt, |words| {
            words.listening.then_some(())
        })?;
        // What came before the filter stood is counted for ever: measure it once.
        let mut before = self.ask(deadline, interrupt)?;
        while self.under_way(before) > 0 {
            let now = self.ask(deadline, interrupt)?;
            if now == before {
                self.unfiltered = self.under_way(now);
                break;
            }
            before = now;
        }
        Ok(())
    }

    /// A copy of what has come in past `offset`.
    pub(super) fn since(&self, offset: usize) -> Vec<u8> {
        lock(&self.pcap).get(offset..).unwrap_or_default().to_vec()
    }

    /// Waits until every packet that the kernel took is in the file.
    pub(super) fn settle(
        &mut self,
        deadline: Instant,
        interrupt: &Interrupt,
    ) -> Result<(), CaptureError> {
        loop {
            let counts = self.ask(deadline, interrupt)?;
            if self.under_way(counts) <= self.unfiltered {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(CaptureError::Late("write every packet"));
            }
        }
    }

    /// Ends tcpdump and reads to the end of its file.
    pub(super) fn finish(
        mut self,
        deadline: Instant,
        interrupt: &Interrupt,
    ) -> Result<Captured, CaptureError> {
        self.signal(Signal::SIGINT)?;
        let words = Arc::clone(&self.words);
        let ended = self
            .bell
            .wait_for(deadline, interrupt, || lock(&words).ended.then_some(()))
            .map_err(|unmet| late("end", unmet));
        if ended.is_err() {
            self.process.control().kill();
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        ended?;
        let words = lock(&self.words);
        let Some(counts) = words.counts else {
            return Err(CaptureError::Ended(words.complaint()));
        };
        Ok(Captured {
            pcap: std::mem::take(&mut *lock(&self.pcap)),
            dropped: counts.dropped,
        })
    }

    /// Asks tcpdump for its counts.
    fn ask(&mut self, deadline: Instant, interrupt: &Interrupt) -> Result<Counts, CaptureError> {
        let asked = lock(&self.words).answers;
        self.signal(Signal::SIGUSR1)?;
        self.wait("answer", deadline, interrupt, |words| {
            words.counts.filter(|_| words.answers > asked)
        })
    }

    fn wait<T>(
        &self,
        what: &'static str,
        deadline: Instant,
        interrupt: &Interrupt,
        look: impl Fn(&Words) -> Option<T>,
    ) -> Result<T, CaptureError> {
        self.bell
            .wait_for(deadline, interrupt, || {
                let words = lock(&self.words);
                match look(&words) {
                    Some(found) => Some(Ok(found)),
                    None => words
                        .ended
                        .then(|| Err(CaptureError::Ended(words.complaint()))),
                }
            })
            .map_err(|unmet| late(what, unmet))?
    }

    /// Packets that the kernel took and the file has not.
    fn under_way(&self, counts: Counts) -> u64 {
        let times = if self.counted_twice { 2 } else { 1 };
        counts
            .received
            .saturating_sub(counts.dropped + counts.captured * times)
    }

    fn signal(&self, signal: Signal) -> Result<(), CaptureError> {
        self.process
            .control()
            .signal(signal)
            .map_err(|error| CaptureError::Ended(error.to_string()))
    }
}

fn late(what: &'static str, unmet: Unmet) -> CaptureError {
    match unmet {
        Unmet::DeadlinePassed => CaptureError::Late(what),
        Unmet::Interrupted => CaptureError::Interrupted,
    }
}

fn read_pcap(
    mut pipe: impl Read + Send + 'static,
    pcap: &Arc<Mutex<Vec<u8>>>,
    bell: &Bell,
) -> JoinHandle<()> {
    let (pcap, bell) = (Arc::clone(pcap), bell.clone());
    thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = pipe.read(&mut chunk) {
            lock(&pcap).extend_from_slice(&chunk[..read]);
            bell.ring();
        }
    })
}

fn read_words(
    pipe: impl Read + Send + 'static,
    words: &Arc<Mutex<Words>>,
    bell: &Bell,
) -> JoinHandle<()> {
    let (words, bell) = (Arc::clone(words), bell.clone());
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lock(&words).hear(&line);
            bell.ring();
        }
        lock(&words).ended = true;
        bell.ring();
    })
}

#[cfg(test)]
mod tests {
    mod as_root {
        use std::net::UdpSocket;
        use std::process::Command;
        use std::time::Duration;

        use super::super::*;

        /// Every packet sent before `settle` is in the file after it, however many,
        /// though nothing ever waits for the packets themselves.
        #[test]
        fn nothing_is_under_way_once_settled() {
            assert!(
                nix::unistd::geteuid().is_root(),
                "this test captures packets: run it as root"
            );
            let to = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
            let port = to.local_addr().expect("bound").port();
            let argv = tcpdump("lo", &format!("udp and dst port {port}"));
            let mut command = Command::new(&argv[0]);
            command.args(&argv[1..]);
            let interrupt = Interrupt::default();
            let deadline = Instant::now() + Duration::from_secs(20);

            let process = Process::spawn(command).expect("tcpdump starts");
            let mut capture = Capture::start(process, "lo", &Bell::default());
            capture
                .listening(deadline, &interrupt)
                .expect("tcpdump listens");
            let from = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
            for _ in 0..500 {
                from.send_to(b"x", ("127.0.0.1", port))
                    .expect("loopback takes it");
            }
            capture
                .settle(deadline, &interrupt)
                .expect("tcpdump settles");
            let captured = capture.finish(deadline, &interrupt).expect("tcpdump ends");

            // File header, and per packet a record header and 14+20+8+1 bytes.
            assert_eq!(captured.pcap.len(), 24 + 500 * (16 + 43));
            assert_eq!(captured.dropped, 0);
        }
    }
}
