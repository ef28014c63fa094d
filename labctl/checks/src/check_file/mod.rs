//! Check files: what users write, and what the runner runs.
//!
//! A file passes through three shapes. [`file`] has the types of the text. A [`Suite`]
//! is a file without faults: every name resolved as far as the file goes, every
//! template and filter compiled. [`render`] turns one check of it into a [`Check`],
//! in which templates have become addresses of a lab that is up.

mod check;
pub mod file;
mod render;
mod template;
mod validate;

pub use check::{
    Capture, Check, Count, Curl, Exec, Expectation, Ping, Route, RouteChange, Step, Target, Tcp,
    Text,
};
pub use file::{
    CheckFile, CurlFailure, DeleteFile, LinkState, ManifestFile, ScaleFile, StepKind, SuiteFile,
    TcpOutcome,
};
pub use render::RenderError;
pub use template::{Context, NodeFacts, OutsideFacts, PodFacts, ServiceFacts, ServicePortFacts};

use lab_model::diagnostic::Diagnostics;
use lab_model::document::Document;

/// A check file without faults.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// Name of the file, for messages.
    pub file_name: String,
    /// Name of the suite.
    pub name: String,
    /// Its checks, in the order of the file, which is the order they run in.
    pub checks: Vec<CheckFile>,
}

/// Parses a check file.
///
/// # Errors
///
/// Every fault of the file at once, each at its place: unknown keys, duplicate names, captures
/// that are not there, templates and filters that do not compile.
pub fn parse(file_name: &str, text: &str) -> Result<Suite, Diagnostics> {
    let document = Document::parse(file_name, text)?;
    let file: SuiteFile = document.read()?;
    validate::faults(&file, &document.at()).or(())?;
    Ok(Suite {
        file_name: file_name.to_owned(),
        name: file.suite,
        checks: file.checks,
    })
}

/// JSON Schema of check files, for editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(SuiteFile).to_value()
}
