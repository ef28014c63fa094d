//! API objects that a check applies, deletes and scales, as kubectl would: the lab is
//! computed anew, and taken back with everything else.

use lab_checks::check_file::{DeleteFile, ManifestFile, ScaleFile};
use lab_cluster::{Kind, Object};

use super::changes::{ChangeError, Changes};
use crate::interrupt::Interrupt;

const DEFAULT: &str = "default";

impl Changes<'_> {
    /// Adds an object, or puts it in the place of the one of its kind and name.
    pub(super) fn apply(
        &mut self,
        manifest: &ManifestFile,
        interrupt: &Interrupt,
    ) -> Result<(), ChangeError> {
        let told = |error: String| ChangeError::Values(format!("apply: {error}"));
        let text = serde_json::to_string_pretty(&manifest.0);
        let text = text.map_err(|error| told(error.to_string()))?;
        let parsed = lab_cluster::parse("the applied object", &text);
        let parsed = parsed.map_err(|faults| told(faults.to_string()))?;
        self.change(interrupt, "apply", |objects| {
            for object in parsed {
                objects.retain(|other| {
                    (other.kind.as_str(), other.key()) != (object.kind.as_str(), object.key())
                });
                objects.push(object);
            }
            Ok(())
        })
    }

    /// Deletes an object, which must be there.
    pub(super) fn delete(
        &mut self,
        delete: &DeleteFile,
        interrupt: &Interrupt,
    ) -> Result<(), ChangeError> {
        self.change(interrupt, "delete", |objects| {
            let index = find(
                objects,
                &delete.kind,
                delete.namespace.as_deref(),
                &delete.name,
            )?;
            objects.remove(index);
            Ok(())
        })
    }

    /// Gives a Deployment, which must be there, another number of pods.
    pub(super) fn scale(
        &mut self,
        scale: &ScaleFile,
        interrupt: &Interrupt,
    ) -> Result<(), ChangeError> {
        let namespace = scale.namespace.as_deref();
        self.change(interrupt, "scale", |objects| {
            let index = find(objects, "Deployment", namespace, &scale.deployment)?;
            if let Kind::Deployment { replicas, .. } = &mut objects[index].kind {
                *replicas = scale.replicas;
            }
            Ok(())
        })
    }

    fn change(
        &mut self,
        interrupt: &Interrupt,
        what: &str,
        change: impl FnOnce(&mut Vec<Object>) -> Result<(), String>,
    ) -> Result<(), ChangeError> {
        let before = self.objects.clone();
        let changed = change(&mut self.objects)
            .map_err(|error| ChangeError::Values(format!("{what}: {error}")))
            .and_then(|()| self.recompute(what, interrupt));
        if changed.is_err() {
            self.objects = before;
        }
        changed
    }
}

/// Where the object is; kinds are written as kubectl takes them, in any case.
fn find(
    objects: &[Object],
    kind: &str,
    namespace: Option<&str>,
    name: &str,
) -> Result<usize, String> {
    let namespace = namespace.unwrap_or(DEFAULT);
    let is_it = |object: &Object| {
        object.kind.as_str().eq_ignore_ascii_case(kind)
            && object.name == name
            && (object.namespace.is_empty() || object.namespace == namespace)
    };
    objects
        .iter()
        .position(is_it)
        .ok_or_else(|| format!("the lab has no {kind} `{namespace}/{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "\
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: other}, spec: {ports: [{port: 80}]}}
---
{apiVersion: cilium.io/v2alpha1, kind: CiliumLoadBalancerIPPool, metadata: {name: web}, spec: {blocks: [{cidr: 10.0.0.0/24}]}}
";

    #[test]
    fn objects_are_found_by_kind_namespace_and_name() {
        let objects = lab_cluster::parse("a.yaml", MANIFEST).expect("no faults");
        assert_eq!(find(&objects, "service", None, "web"), Ok(0));
        assert_eq!(find(&objects, "Service", Some("other"), "web"), Ok(1));
        assert_eq!(
            find(&objects, "ciliumloadbalancerippool", None, "web"),
            Ok(2)
        );
        assert_eq!(
            find(&objects, "Deployment", None, "web"),
            Err("the lab has no Deployment `default/web`".to_owned())
        );
    }
}
