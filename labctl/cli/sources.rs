//! A lab's files: the lab file, its manifests and its check files, read together so
//! that every fault in all of them is reported at once, before anything is made.

use std::fs;
use std::path::{Path, PathBuf};

use lab_checks::check_file::{self, Suite};
use lab_cluster::{Allocations, Cluster, Object, dns_objects};
use lab_model::diagnostic::{Diagnostic, Diagnostics};
use lab_model::document::{At, Document};
use lab_model::lab::Lab;
use lab_model::lab_file;

use crate::exit::Failure;

/// Everything that a lab's files say.
pub(crate) struct Sources {
    /// The lab file, as the user gave it.
    pub(crate) file: PathBuf,
    /// The lab.
    pub(crate) lab: Lab,
    /// What the manifests define.
    pub(crate) objects: Vec<Object>,
    /// The check files, in the lab file's order.
    pub(crate) suites: Vec<Suite>,
}

impl Sources {
    /// What the lab's objects come to, given what was given out before.
    ///
    /// # Errors
    /// Faults that only show once all objects are seen together with the lab.
    pub(crate) fn cluster(&self, previous: &Allocations) -> Result<Cluster, Failure> {
        lab_cluster::compute(&self.lab, &self.objects, previous).map_err(Failure::Faults)
    }
}

/// Reads a lab file and all that it names. `name` takes the place of the lab's own.
///
/// # Errors
/// All faults of all files; or a lab file that cannot be read, or an impossible name.
pub(crate) fn read(file: &Path, name: Option<&str>) -> Result<Sources, Failure> {
    let text = fs::read_to_string(file).map_err(|error| {
        Failure::usage(format_args!(
            "failed to read lab file {}: {error}",
            file.display()
        ))
    })?;
    let shown = file.to_string_lossy();
    let folder = file.parent().unwrap_or(Path::new(""));
    let document = Document::parse(&shown, &text).map_err(Failure::Faults)?;

    let mut faults = Diagnostics::new();
    let mut lab = collect(&mut faults, lab_file::parse(&shown, &text, folder));
    let root = document.at();
    // Ahead of the manifests, so that one who defines the same again is told so there.
    let own = lab.as_ref().map_or_else(|| Ok(Vec::new()), dns_objects);
    let mut objects = collect(&mut faults, own).unwrap_or_default();
    for (_, parsed) in files(
        &root.key("manifests"),
        folder,
        &mut faults,
        lab_cluster::parse,
    ) {
        objects.extend(parsed);
    }
    let mut suites: Vec<Suite> = Vec::new();
    for (at, suite) in files(&root.key("checks"), folder, &mut faults, check_file::parse) {
        if suites.iter().any(|other| other.name == suite.name) {
            faults.push(at.fault(format!("suite {} is in another check file too", suite.name)));
        }
        suites.push(suite);
    }
    if let Some(lab) = &mut lab {
        read_zones(&root.key("nodes"), lab, &mut faults);
    }
    let (Some(mut lab), true) = (lab, faults.is_empty()) else {
        return Err(Failure::Faults(faults.or(()).err().unwrap_or_default()));
    };
    if let Some(name) = name {
        lab_file::check_name(name)
            .map_err(|fault| Failure::usage(format_args!("--name {name}: {fault}")))?;
        name.clone_into(&mut lab.name);
    }
    Ok(Sources {
        file: file.to_owned(),
        lab,
        objects,
        suites,
    })
}

/// Reads and parses every file that a list of the lab file names.
fn files<'a, T>(
    list: &At<'a>,
    folder: &Path,
    faults: &mut Diagnostics,
    parse: impl Fn(&str, &str) -> Result<T, Diagnostics>,
) -> Vec<(At<'a>, T)> {
    let mut parsed = Vec::new();
    for at in list.items() {
        let Some(path) = at.as_str().map(|path| folder.join(path)) else {
            continue;
        };
        match fs::read_to_string(&path) {
            Err(error) => faults.push(unreadable(&at, &path, &error)),
            Ok(text) => {
                let file = collect(faults, parse(&path.to_string_lossy(), &text));
                parsed.extend(file.map(|file| (at, file)));
            }
        }
    }
    parsed
}

/// Reads the zone files that nodes answer DNS from.
fn read_zones(nodes: &At<'_>, lab: &mut Lab, faults: &mut Diagnostics) {
    for node in &mut lab.nodes {
        let Some(zone) = &mut node.zone else { continue };
        let at = nodes.key(&node.name).key("zone");
        match fs::read_to_string(&zone.path) {
            Ok(text) => {
                let shown = zone.path.to_string_lossy();
                if let Err(fault) = lab_dns::zone::Plugin::parse(&shown, &text, true) {
                    faults.push(at.fault(fault.to_string()));
                }
                zone.text = text;
            }
            Err(error) => faults.push(unreadable(&at, &zone.path, &error)),
        }
    }
}

fn unreadable(at: &At<'_>, path: &Path, error: &std::io::Error) -> Diagnostic {
    at.fault(format!("{} cannot be read: {error}", path.display()))
        .with_help("paths are relative to the lab file's folder")
}

fn collect<T>(faults: &mut Diagnostics, result: Result<T, Diagnostics>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(more) => {
            faults.extend(more);
            None
        }
    }
}
