//! Identical questions that are under way at once are asked once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::ask::{FAILED, Outcome};

type Landing = watch::Receiver<Option<Arc<Outcome>>>;
type UnderWay = Mutex<HashMap<Box<[u8]>, Landing>>;

/// Questions under way.
#[derive(Default)]
pub(super) struct Flights(Arc<UnderWay>);

/// Takes the question off the list, also when it panics or its runtime ends.
struct Listed {
    flights: Arc<UnderWay>,
    key: Box<[u8]>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.key);
    }
}

impl Flights {
    /// Waits for whoever asks the same already, else has `asked` run on `runtime`,
    /// where it goes on although all who wait may leave.
    pub(super) fn join<F>(
        &self,
        key: Box<[u8]>,
        runtime: &tokio::runtime::Handle,
        asked: F,
    ) -> impl Future<Output = Arc<Outcome>> + use<F>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut flights = lock(&self.0);
        let landing = if let Some(landing) = flights.get(&key) {
            landing.clone()
        } else {
            let (land, landing) = watch::channel(None);
            flights.insert(key.clone(), landing.clone());
            let listed = Listed {
                flights: Arc::clone(&self.0),
                key,
            };
            // A runtime that has ended drops the task, and that takes the lock.
            drop(flights);
            runtime.spawn(async move {
                let outcome = asked.await;
                drop(listed);
                land.send_replace(Some(Arc::new(outcome)));
            });
            landing
        };
        landed(landing)
    }
}

async fn landed(mut landing: Landing) -> Arc<Outcome> {
    let outcome = landing.wait_for(Option::is_some).await;
    outcome
        .ok()
        .and_then(|outcome| outcome.clone())
        .unwrap_or_else(|| Arc::new(FAILED))
}

fn lock(flights: &UnderWay) -> std::sync::MutexGuard<'_, HashMap<Box<[u8]>, Landing>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}
