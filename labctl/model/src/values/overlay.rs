//! Values laid over values, as `helm upgrade --reuse-values --set …` does.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Values;

/// Some of the values, as a check's `set` and a twin write them. It has the
/// schema of [`Values`], and keeps what was written and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValuesPatch(pub Json);

impl JsonSchema for ValuesPatch {
    fn schema_name() -> Cow<'static, str> {
        Values::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Values::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Values::json_schema(generator)
    }
}

/// A patch does not fit the values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("set values: {path}: {reason}")]
pub struct ValuesError {
    /// Where, as in `bpf.masquerade`.
    pub path: String,
    /// Why not.
    pub reason: String,
}

impl Values {
    /// These values with `patch` laid over them: maps merge, everything else
    /// replaces, and null takes a value back to its default, as in Helm.
    ///
    /// # Errors
    ///
    /// When the result has an unknown name or a value of the wrong type, for which
    /// files that use [`ValuesPatch`] have been checked already; or values that
    /// exclude each other.
    pub fn overlay(&self, patch: &Json) -> Result<Self, ValuesError> {
        let mut merged = serde_json::to_value(self).map_err(|error| ValuesError {
            path: ".".to_owned(),
            reason: error.to_string(),
        })?;
        merge(&mut merged, patch);
        let values: Self =
            serde_path_to_error::deserialize(merged).map_err(|error| ValuesError {
                path: error.path().to_string(),
                reason: error.into_inner().to_string(),
            })?;
        match values.conflicts().into_iter().next() {
            None => Ok(values),
            Some(conflict) => Err(ValuesError {
                path: conflict.path.to_owned(),
                reason: format!("{}; {}", conflict.message, conflict.help),
            }),
        }
    }
}

fn merge(base: &mut Json, patch: &Json) {
    let (Json::Object(base), Json::Object(patch)) = (&mut *base, patch) else {
        base.clone_from(patch);
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            base.shift_remove(key);
        } else {
            merge(base.entry(key.as_str()).or_insert(Json::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::values::{IpMasqAgentConfig, IpMasqAgentValues};

    fn cidrs(values: &Values) -> Vec<String> {
        let config = values.ip_masq_agent.config.clone().unwrap_or_default();
        config
            .non_masquerade_cidrs
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn maps_merge_and_lists_replace() {
        let mut values = Values::default();
        values.bpf.masquerade = true;
        values.ip_masq_agent = IpMasqAgentValues {
            enabled: false,
            config: Some(IpMasqAgentConfig {
                non_masquerade_cidrs: vec!["10.0.0.0/8".parse().unwrap()],
                masq_link_local: true,
            }),
        };
        let patch = json!({"ipMasqAgent": {
            "enabled": true,
            "config": {"nonMasqueradeCIDRs": ["10.10.1.0/24", "10.10.2.0/24"]},
        }});
        let patched = values.overlay(&patch).unwrap();
        assert!(patched.bpf.masquerade, "what the patch does not name stays");
        assert!(patched.ip_masq_agent.enabled);
        assert_eq!(cidrs(&patched), ["10.10.1.0/24", "10.10.2.0/24"]);
        assert!(patched.ip_masq_agent.config.unwrap().masq_link_local);
    }

    #[test]
    fn null_takes_a_value_back_to_its_default() {
        let values = Values::default()
            .overlay(&json!({"bpf": {"masquerade": true}, "nodePort": {"range": "20000,25000"}}))
            .unwrap();
        assert_eq!(values.snat_ports(), (25001, 65535));
        let back = values
            .overlay(&json!({"bpf": null, "nodePort": {"range": null}}))
            .unwrap();
        assert_eq!(back, Values::default());
        assert_eq!(back.snat_ports(), (32768, 65535));
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        let values = Values::default();
        assert_eq!(values.overlay(&json!({})).unwrap(), values);
    }

    #[test]
    fn misfits_name_their_path() {
        let error = Values::default()
            .overlay(&json!({"bpf": {"masquerade": "yes"}}))
            .unwrap_err();
        assert_eq!(error.path, "bpf.masquerade");
        let error = Values::default().overlay(&json!({"bfp": {}})).unwrap_err();
        assert!(error.to_string().contains("unknown field `bfp`"), "{error}");
        let error = Values::default()
            .overlay(&json!({"nodePort": {"range": "9"}}))
            .unwrap_err();
        assert!(error.to_string().contains("nodePort.range"), "{error}");
        assert!(Values::default().overlay(&json!(3)).is_err());
    }
}
