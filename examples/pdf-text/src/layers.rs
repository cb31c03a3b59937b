//! Optional content: which layers of a document are switched off when it is opened.
//!
//! Only the default configuration counts; usage events (print, zoom) and visibility expressions are
//! not looked at, and content whose state is in doubt is taken as visible, because losing text is
//! the worse mistake.

use hayro_syntax::object::{Array, Dict, Name, ObjectIdentifier};
use rustc_hash::FxHashSet;

/// The layers that are off.
#[derive(Default)]
pub(crate) struct Layers {
    off: FxHashSet<ObjectIdentifier>,
}

impl Layers {
    pub(crate) fn read(catalog: &Dict<'_>) -> Self {
        let mut layers = Self::default();
        let Some(properties) = catalog.get::<Dict<'_>>("OCProperties") else {
            return layers;
        };
        let Some(config) = properties.get::<Dict<'_>>("D") else {
            return layers;
        };
        if config.get::<Name<'_>>("BaseState").as_deref() == Some(b"OFF") {
            layers.off.extend(ids(&properties, "OCGs"));
        }
        for id in ids(&config, "ON") {
            layers.off.remove(&id);
        }
        layers.off.extend(ids(&config, "OFF"));
        layers
    }

    /// Whether the `OC` entry of a form or annotation hides it.
    pub(crate) fn hides(&self, dict: &Dict<'_>) -> bool {
        dict.contains_key("OC") && self.hides_entry(dict, "OC")
    }

    /// Whether the layer, or the combination of layers, under `key` is off.
    pub(crate) fn hides_entry(&self, dict: &Dict<'_>, key: impl AsRef<[u8]>) -> bool {
        if self.off.is_empty() {
            return false;
        }
        let key = key.as_ref();
        if dict
            .get_ref(key)
            .is_some_and(|id| self.off.contains(&id.into()))
        {
            return true;
        }
        dict.get::<Dict<'_>>(key).is_some_and(|layer| {
            layer.get::<Name<'_>>("Type").as_deref() == Some(b"OCMD") && self.hides_group(&layer)
        })
    }

    fn hides_group(&self, group: &Dict<'_>) -> bool {
        let members: Vec<_> = match group.get_ref("OCGs") {
            Some(id) if group.get::<Array<'_>>("OCGs").is_none() => vec![id.into()],
            _ => ids(group, "OCGs").collect(),
        };
        let mut off = members.iter().map(|id| self.off.contains(id));
        if members.is_empty() {
            return false;
        }
        match group.get::<Name<'_>>("P").as_deref() {
            Some(b"AllOn") => off.any(|off| off),
            Some(b"AnyOff") => off.all(|off| !off),
            Some(b"AllOff") => off.any(|off| !off),
            _ => off.all(|off| off),
        }
    }
}

fn ids(dict: &Dict<'_>, key: &str) -> impl Iterator<Item = ObjectIdentifier> {
    let array = dict.get::<Array<'_>>(key);
    let refs: Vec<_> = array
        .iter()
        .flat_map(Array::raw_iter)
        .filter_map(|item| item.as_obj_ref())
        .map(Into::into)
        .collect();
    refs.into_iter()
}
