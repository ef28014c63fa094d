//! Where labs run: effects, and nothing decided.
//!
//! A provider observes what is there, and executes the plan that
//! [`lab_model::plan`] makes of it: [`netns`] in namespaces of this host's own kernel,
//! [`machines`] on virtual machines and on hosts that are there already, over SSH.

mod error;
mod execute;
mod lab_folder;
mod lock;
pub mod machines;
pub mod netns;
mod parallel;
mod process;
mod provider;
mod record;
mod target;

pub use error::{ExecuteError, ProviderError};
pub use execute::Event;
pub use lock::{LabLock, Wait};
pub use process::{Control, Process};
pub use provider::{AgentView, Log, Provider};
pub use record::{NodeRecord, Record};
pub use target::Target;
