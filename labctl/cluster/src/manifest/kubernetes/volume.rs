//! The shapes of ConfigMaps, and of the volumes that pods read them from.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::Value;

use super::{ObjectMeta, fields, object_fields};

/// `v1` ConfigMap.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = config_map_fields)]
pub(in crate::manifest) struct ConfigMap {
    pub(in crate::manifest) metadata: ObjectMeta,
    #[serde(default)]
    pub(in crate::manifest) data: Option<BTreeMap<String, String>>,
}

fn config_map_fields(schema: &mut Schema) {
    let without_effect = ["apiVersion", "kind", "immutable"];
    fields(schema, &without_effect, &["binaryData"]);
}

/// `v1` ServiceAccount: there is nobody whom its rights would be asked of.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = service_account_fields)]
pub(in crate::manifest) struct ServiceAccount {
    pub(in crate::manifest) metadata: ObjectMeta,
}

fn service_account_fields(schema: &mut Schema) {
    object_fields(schema);
    let without_effect = [
        "apiVersion",
        "kind",
        "automountServiceAccountToken",
        "imagePullSecrets",
        "secrets",
    ];
    fields(schema, &without_effect, &[]);
}

/// A volume of a pod. Only ConfigMaps are ever read; the others that have no effect are
/// the node's own places, which workloads see anyway.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = volume_fields)]
pub(in crate::manifest) struct Volume {
    pub(in crate::manifest) name: String,
    #[serde(default)]
    pub(in crate::manifest) config_map: Option<ConfigMapVolume>,
}

fn volume_fields(schema: &mut Schema) {
    let not_yet = [
        "csi",
        "downwardAPI",
        "ephemeral",
        "nfs",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    fields(schema, &["emptyDir", "hostPath"], &not_yet);
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = config_map_volume_fields)]
pub(in crate::manifest) struct ConfigMapVolume {
    pub(in crate::manifest) name: String,
    #[serde(default)]
    pub(in crate::manifest) items: Option<Vec<KeyToPath>>,
}

fn config_map_volume_fields(schema: &mut Schema) {
    fields(schema, &["defaultMode", "optional"], &[]);
}

#[derive(Deserialize, JsonSchema)]
#[schemars(transform = key_to_path_fields)]
pub(in crate::manifest) struct KeyToPath {
    pub(in crate::manifest) key: String,
    pub(in crate::manifest) path: String,
}

fn key_to_path_fields(schema: &mut Schema) {
    fields(schema, &["mode"], &[]);
}

/// Where a container sees a volume.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = volume_mount_fields)]
pub(in crate::manifest) struct VolumeMount {
    pub(in crate::manifest) name: String,
    pub(in crate::manifest) mount_path: String,
    #[serde(default, rename = "readOnly")]
    _read_only: Option<Value>,
}

fn volume_mount_fields(schema: &mut Schema) {
    let not_yet = ["subPath", "subPathExpr"];
    let without_effect = ["mountPropagation", "recursiveReadOnly"];
    fields(schema, &without_effect, &not_yet);
}
