//! Having the kernel verify programs, and what it says of those that it refuses.

use std::io;

use aya::programs::ProgramError;

/// `PROG_LOAD_ATTEMPTS` of libbpf.
const ATTEMPTS: u32 = 5;

/// Has a program verified by `load`. The verifier gives up when a signal comes (`EAGAIN`): then
/// it is asked again, as often as libbpf does.
pub(crate) fn verify(
    mut load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), ProgramError> {
    for _ in 1..ATTEMPTS {
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock => {}
            loaded => return loaded,
        }
    }
    load()
}

/// An error with its causes: aya keeps the kernel's answer in the source.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Why a program was refused: the kernel's answer, and the end of the verifier's
/// log, where it says what it does not like. The log can have megabytes.
pub(crate) fn refusal(error: &ProgramError) -> String {
    const LAST_LINES: usize = 4;
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return chain(error);
    };
    let log = verifier_log.to_string();
    let said: Vec<_> = log
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("processed "))
        .collect();
    let said = said[said.len().saturating_sub(LAST_LINES)..].join("; ");
    format!("{io_error}; the verifier says: {said}")
}
