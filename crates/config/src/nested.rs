//! Dotted names into nested objects.

use serde_json::{Map, Value};

/// Puts a value where its dotted name says; the error names a group that is no object.
pub(crate) fn insert(
    root: &mut Map<String, Value>,
    name: &str,
    value: Value,
) -> Result<(), String> {
    let (groups, leaf) = name
        .rsplit_once('.')
        .map_or(("", name), |(groups, leaf)| (groups, leaf));
    let mut map = root;
    let mut path = String::new();
    for group in groups.split('.').filter(|group| !group.is_empty()) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(group);
        let next = map
            .entry(group)
            .or_insert_with(|| Value::Object(Map::new()));
        map = next.as_object_mut().ok_or_else(|| path.clone())?;
    }
    map.insert(leaf.to_owned(), value);
    Ok(())
}

/// Takes out what a dotted name names, and the groups that are empty then.
pub(crate) fn remove(map: &mut Map<String, Value>, name: &str) -> bool {
    if map.shift_remove(name).is_some() {
        return true;
    }
    for (at, _) in name.match_indices('.') {
        let (group, rest) = (
            name.get(..at).unwrap_or(""),
            name.get(at + 1..).unwrap_or(""),
        );
        let Some(inner) = map.get_mut(group).and_then(Value::as_object_mut) else {
            continue;
        };
        if remove(inner, rest) {
            if inner.is_empty() {
                map.shift_remove(group);
            }
            return true;
        }
    }
    false
}
