//! `process_*`, out of `/proc/self`; what cannot be read is left out.

use std::fs;

use super::text::{Family, Kind, Text};

const CPU: Family = (
    "process_cpu_seconds_total",
    Kind::Counter,
    "Total user and system CPU time spent in seconds.",
);
const OPEN_FDS: Family = (
    "process_open_fds",
    Kind::Gauge,
    "Number of open file descriptors.",
);
const RESIDENT: Family = (
    "process_resident_memory_bytes",
    Kind::Gauge,
    "Resident memory size in bytes.",
);
const VIRTUAL: Family = (
    "process_virtual_memory_bytes",
    Kind::Gauge,
    "Virtual memory size in bytes.",
);
const START: Family = (
    "process_start_time_seconds",
    Kind::Gauge,
    "Start time of the process since unix epoch in seconds.",
);
/// Clock ticks a second: `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

pub(super) fn write(text: &mut Text) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields behind the name, which may hold spaces; the first is the third of proc(5).
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace()
                .map(|it| it.parse().unwrap_or_default())
                .collect()
        })
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).copied();
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        text.value(CPU, &[], (user + system) / TICKS);
    }
    if let Some(size) = field(23) {
        text.value(VIRTUAL, &[], size);
    }
    if let (Some(started), Some(booted)) = (field(22), boot_time()) {
        text.value(START, &[], booted + started / TICKS);
    }
    if let Some(kilobytes) = resident() {
        text.value(RESIDENT, &[], kilobytes * 1024.0);
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        // One of them is the listing's own.
        text.value(OPEN_FDS, &[], fds.count().saturating_sub(1) as f64);
    }
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
