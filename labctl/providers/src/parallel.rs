//! The same work on many nodes at once.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

/// Does `work` on each item, on as many threads as there are processors, and
/// returns the results in the order of the items. One item needs no thread.
pub(crate) fn parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    on_threads(processors(), items, work)
}

/// As [`parallel`], with twice the threads: for work that waits for the kernel as long as it
/// computes.
pub(crate) fn overlapping<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    on_threads(2 * processors(), items, work)
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn on_threads<T: Send, R: Send>(
    threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let count = items.len();
    let queue = Mutex::new(items.into_iter().enumerate());
    let mut results: Vec<Option<R>> = (0..count).map(|_| None).collect();
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            while let Some((position, item)) = next() {
                done.push((position, work(item)));
            }
            done
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let done = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (position, result) in done {
                results[position] = Some(result);
            }
        }
    });
    results.into_iter().flatten().collect()
}

/// Does `work` on each item, on a thread each: for work that waits for others.
pub(crate) fn at_once<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let workers: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
