//! Waiting for what other threads learn: a bell, rung when something came in.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;

/// How long an interrupt may go unnoticed.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Rung by reader threads, heard by the check runner.
#[derive(Clone, Default)]
pub(super) struct Bell {
    rung: Arc<(Mutex<u64>, Condvar)>,
}

/// Why waiting ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    /// The deadline passed.
    DeadlinePassed,
    /// An interrupt came.
    Interrupted,
}

impl Bell {
    /// Says that something came in.
    pub(super) fn ring(&self) {
        *lock(&self.rung.0) += 1;
        self.rung.1.notify_all();
    }

    /// Waits until `look` finds something, looking again whenever the bell rings.
    pub(super) fn wait_for<T>(
        &self,
        deadline: Instant,
        interrupt: &Interrupt,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Unmet> {
        loop {
            // Counted before looking: what comes in while we look rings again.
            let before = *lock(&self.rung.0);
            if let Some(found) = look() {
                return Ok(found);
            }
            let mut now = *lock(&self.rung.0);
            while now == before {
                if interrupt.asked() {
                    return Err(Unmet::Interrupted);
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Unmet::DeadlinePassed);
                }
                let guard = lock(&self.rung.0);
                let (guard, _) = self
                    .rung
                    .1
                    .wait_timeout_while(guard, left.min(LOOK_UP), |count| *count == before)
                    .unwrap_or_else(PoisonError::into_inner);
                now = *guard;
            }
        }
    }
}

/// Locks what readers share. A reader that panicked left bytes that are still true.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
