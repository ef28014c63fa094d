//! The Corefiles of DNS servers, out of the ConfigMaps that they mount.

use std::collections::BTreeMap;

use lab_model::diagnostic::{Diagnostic, Diagnostics};

use crate::object::{Kind, Object};

/// Texts of Corefiles by the objects whose pods read them.
pub(crate) struct Corefiles<'a>(BTreeMap<(&'static str, String), &'a str>);

impl<'a> Corefiles<'a> {
    /// Those of `objects`, which are sorted; a ConfigMap or a key that is not there is a fault.
    pub(crate) fn new(objects: &[&'a Object], faults: &mut Diagnostics) -> Self {
        let mut texts = BTreeMap::new();
        for object in objects {
            match corefile(object, objects) {
                Ok(Some(text)) => {
                    texts.insert((object.kind.as_str(), object.key()), text);
                }
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        Self(texts)
    }

    /// What the pods of `object` read.
    pub(crate) fn of(&self, object: &Object) -> Option<&'a str> {
        self.0.get(&(object.kind.as_str(), object.key())).copied()
    }
}

fn corefile<'a>(object: &Object, objects: &[&'a Object]) -> Result<Option<&'a str>, Diagnostic> {
    let Some(file) = object.template().and_then(|it| it.corefile.as_ref()) else {
        return Ok(None);
    };
    let maps = objects.iter().filter_map(|other| match &other.kind {
        Kind::ConfigMap(data) if other.namespace == object.namespace => Some((&other.name, data)),
        _ => None,
    });
    let map = &file.config_map;
    let Some((_, data)) = maps.clone().find(|(name, _)| **name == map.value) else {
        let namespace = &object.namespace;
        let message = format!("there is no ConfigMap `{}` in {namespace}", map.value);
        let names = maps.map(|(name, _)| name.as_str());
        let fault = object.fault(&map.span, message);
        return Err(fault.with_suggestion(&map.value, names, || None));
    };
    let text = data.get(&file.key).ok_or_else(|| {
        let message = format!("ConfigMap `{}` has no key `{}`", map.value, file.key);
        object.fault(&map.span, message)
    })?;
    Ok(Some(text))
}
