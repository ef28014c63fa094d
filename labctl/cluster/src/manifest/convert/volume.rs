//! ConfigMaps, and the files that containers see of them.

use lab_model::diagnostic::{Diagnostic, Diagnostics};
use lab_model::document::{At, Document};

use super::super::kubernetes::{self, Container, ObjectMeta, PodSpec};
use super::metadata::{labels, metadata};
use crate::object::{Kind, MountedFile, Object, Origin, Written};

/// A ConfigMap.
pub(in crate::manifest) fn config_map(document: &Document) -> Result<Object, Diagnostics> {
    let (map, faults) = document.read_partial::<kubernetes::ConfigMap>()?;
    let data = map.data.unwrap_or_default();
    without_pods(document, map.metadata, Kind::ConfigMap(data), faults)
}

/// A ServiceAccount.
pub(in crate::manifest) fn service_account(document: &Document) -> Result<Object, Diagnostics> {
    let (account, faults) = document.read_partial::<kubernetes::ServiceAccount>()?;
    without_pods(document, account.metadata, Kind::ServiceAccount, faults)
}

fn without_pods(
    document: &Document,
    meta: ObjectMeta,
    kind: Kind,
    mut faults: Diagnostics,
) -> Result<Object, Diagnostics> {
    let at = document.at().key("metadata");
    let namespace = metadata(&meta, &at, &mut faults);
    let own_labels = labels(meta.labels.as_ref(), &at.key("labels"), &mut faults);
    faults.or(Object {
        namespace,
        name: meta.name,
        labels: own_labels,
        kind,
        origin: Origin::of_name(document),
    })
}

/// The key of a ConfigMap that a container sees as `path`.
pub(super) fn mounted_file(
    spec: &PodSpec,
    container: &Container,
    path: &str,
    spec_at: &At<'_>,
    container_at: &At<'_>,
) -> Result<MountedFile, Diagnostic> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let mounts_at = container_at.key("volumeMounts");
    let mounts = container.volume_mounts.iter().flatten().enumerate();
    let mut mounts = mounts.filter(|(_, mount)| mount.mount_path.trim_end_matches('/') == folder);
    let Some((index, mount)) = mounts.next() else {
        let at = if mounts_at.exists() {
            mounts_at
        } else {
            container_at.key("image")
        };
        let message = format!("nothing is mounted at {folder}, where {file} would be");
        let help = "mount a volume of a ConfigMap there, with `volumeMounts`";
        return Err(at.key_fault(message).with_help(help));
    };
    let volumes = spec.volumes.iter().flatten().enumerate();
    let mut volumes = volumes.filter(|(_, volume)| volume.name == mount.name);
    let Some((volume_index, volume)) = volumes.next() else {
        let message = format!("the pod has no volume `{}`", mount.name);
        return Err(mounts_at.index(index).key("name").fault(message));
    };
    let volume_at = spec_at.key("volumes").index(volume_index);
    let Some(config_map) = &volume.config_map else {
        let message = format!("{path} can only come from a ConfigMap here");
        return Err(volume_at.key("name").fault(message));
    };
    let map_at = volume_at.key("configMap");
    let key = match &config_map.items {
        None => file.to_owned(),
        Some(items) => {
            let item = items.iter().find(|item| item.path == file);
            let missing = || {
                let message = format!("no item of the ConfigMap becomes the file {file}");
                map_at.key("items").key_fault(message)
            };
            item.ok_or_else(missing)?.key.clone()
        }
    };
    Ok(MountedFile {
        config_map: Written {
            value: config_map.name.clone(),
            span: map_at.key("name").span(),
        },
        key,
    })
}
