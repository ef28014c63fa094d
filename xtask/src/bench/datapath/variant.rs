//! Variants of the study lab: its files copied, with other values and more manifests.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::super::lab::Lab;
use crate::command::{root, target_folder};

/// A variant, in a folder of its own below the target folder.
pub(super) struct Variant {
    name: String,
    folder: PathBuf,
    text: String,
    manifests: Vec<(String, String)>,
}

impl Variant {
    /// The study lab under this name.
    pub(super) fn new(name: &str) -> Result<Self> {
        let path = root().join("labs/study.yaml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Self {
            name: name.to_owned(),
            folder: target_folder().join("bench").join(name),
            text,
            manifests: Vec::new(),
        })
    }

    /// With `from` in the lab file, which must be there, as `to`.
    pub(super) fn with(mut self, from: &str, to: &str) -> Result<Self> {
        ensure!(self.text.contains(from), "labs/study.yaml has no `{from}`");
        self.text = self.text.replace(from, to);
        Ok(self)
    }

    /// With services by kube-proxy's rules, which masquerading in eBPF does not go with.
    pub(super) fn with_kube_proxy(self) -> Result<Self> {
        self.with("kubeProxyReplacement: true", "kubeProxyReplacement: false")?
            .with("bpf: {masquerade: true}", "bpf: {masquerade: false}")
    }

    /// With one manifest more.
    pub(super) fn with_manifest(mut self, file: &str, content: String) -> Result<Self> {
        self.manifests.push((file.to_owned(), content));
        self.with("manifests: [", &format!("manifests: [{file}, "))
    }

    /// Brings it up.
    pub(super) fn up(self, options: &[&str]) -> Result<Lab> {
        let labs = self.folder.join("labs");
        for folder in ["labs", "checks"] {
            copy_files(&root().join(folder), &self.folder.join(folder))?;
        }
        let file = labs.join("study.yaml");
        let mut files = self.manifests;
        files.push(("study.yaml".to_owned(), self.text));
        for (name, content) in files {
            let path = labs.join(name);
            std::fs::write(&path, content)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
        Lab::up(&file.to_string_lossy(), &self.name, options)
    }
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("failed to make {}", to.display()))?;
    for entry in
        std::fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))?
    {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
