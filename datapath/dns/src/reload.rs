//! The `reload` plugin: the Corefile is looked at every now and then, and what it says
//! is done when it changed and can be read.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, Reload};
use crate::corefile::{Pillars, load};
use crate::log::Output;
use crate::metrics::Registry;

/// Looks at one Corefile.
#[derive(Debug)]
pub struct Watcher {
    file: PathBuf,
    pillars: Pillars,
    /// Of the configuration in force.
    digest: String,
    settings: Option<Reload>,
    /// What was wrong when it was last looked at: it is told once.
    fault: Option<String>,
}

impl Watcher {
    /// Starts from `config`, read with `pillars`. Without a `reload` in it, only
    /// [`Self::check`] looks.
    #[must_use]
    pub fn new(config: &Config, pillars: Pillars) -> Self {
        Self {
            file: config.file.clone(),
            pillars,
            digest: config.digest.clone(),
            settings: settings(config),
            fault: None,
        }
    }

    /// The next configuration, whenever it comes: each wait is the interval, longer or
    /// shorter by a random part of the jitter, so that the servers of a cluster don't all
    /// do it at once. It never comes without a `reload`. May be dropped and called again.
    pub async fn changed(&mut self, output: &Output, registry: &Registry) -> Config {
        loop {
            match self.settings {
                Some(settings) => tokio::time::sleep(wait(settings, fastrand::f64())).await,
                None => std::future::pending().await,
            }
            if let Some(config) = self.check(output, registry) {
                return config;
            }
        }
    }

    /// Looks now: a configuration, if the file changed and is right. What is wrong with
    /// it is printed once and counted, and the configuration in force stays.
    pub fn check(&mut self, output: &Output, registry: &Registry) -> Option<Config> {
        match load(&self.file, &self.pillars) {
            Ok(config) => {
                self.fault = None;
                if config.digest == self.digest {
                    return None;
                }
                self.digest.clone_from(&config.digest);
                self.settings = settings(&config);
                Some(config)
            }
            Err(error) => {
                let fault = Some(error.to_string());
                if self.fault != fault {
                    let text = "plugin/reload: Corefile changed but reload failed";
                    output.error(&format!("{text}: {error}"));
                    registry.reload_failed();
                    self.fault = fault;
                }
                None
            }
        }
    }
}

/// Those of the last block that has any, as CoreDNS keeps them for the whole process.
fn settings(config: &Config) -> Option<Reload> {
    config.blocks.iter().rev().find_map(|block| block.reload)
}

/// `share` is from 0 to 1.
fn wait(settings: Reload, share: f64) -> Duration {
    let earliest = settings.interval.saturating_sub(settings.jitter);
    earliest + (settings.jitter * 2).mul_f64(share)
}

#[cfg(test)]
mod tests;
