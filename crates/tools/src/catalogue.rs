//! Which tools there are, and what a valid call of one is. Knows nothing of how they run.

use crate::schema::{self, BadCall};
use crate::tool::{self, Tool};
use clawdbot_domain::{ToolCall, ToolName, ToolSpec};
use std::sync::Arc;

/// Every tool, as it is published.
#[derive(Debug, Clone)]
pub struct Catalogue {
    specs: Arc<[ToolSpec]>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            specs: tool::ALL.into_iter().filter_map(spec_of).collect(),
        }
    }
}

/// A name that is no tool name leaves the tool out; a test sees that none is.
fn spec_of(tool: &Tool) -> Option<ToolSpec> {
    Some(ToolSpec {
        name: ToolName::parse(tool.name).ok()?,
        description: tool.description.to_owned(),
        effect: tool.effect,
        schema: (tool.schema)(),
    })
}

impl Catalogue {
    /// Every tool.
    pub fn specs(&self) -> Arc<[ToolSpec]> {
        Arc::clone(&self.specs)
    }

    /// The tool of this name.
    pub fn spec(&self, name: &str) -> Option<&ToolSpec> {
        self.specs.iter().find(|spec| spec.name.as_str() == name)
    }

    /// Turns what was proposed into a call, or says in words fit for a model what is wrong with it.
    pub fn validate(
        &self,
        id: &str,
        name: &str,
        arguments_json: &str,
    ) -> Result<ToolCall, BadCall> {
        let (Some(spec), Some(tool)) = (self.spec(name), tool::find(name)) else {
            return Err(self.unknown(name));
        };
        let arguments = schema::arguments(spec, arguments_json, tool.most_arguments)?;
        Ok(ToolCall {
            id: id.to_owned(),
            name: spec.name.clone(),
            effect: spec.effect,
            arguments,
        })
    }

    /// That there is no tool of this name, with the nearest one.
    pub fn unknown(&self, name: &str) -> BadCall {
        let given: String = name.chars().take(80).collect();
        let near = |spec: &&ToolSpec| strsim::damerau_levenshtein(spec.name.as_str(), &given);
        let nearest = self.specs.iter().min_by_key(near);
        let nearest = nearest.filter(|spec| near(spec) <= 1 + given.len() / 3);
        BadCall::UnknownTool {
            nearest: nearest.map(|spec| spec.name.to_string()),
            given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_of_the_table_is_published() {
        assert_eq!(Catalogue::default().specs().len(), tool::ALL.len());
    }

    #[test]
    fn an_unknown_tool_is_refused_with_the_nearest_known() {
        let tools = Catalogue::default();
        for (given, nearest) in [
            ("reed_file", Some("read_file")),
            ("list_dir", None),
            ("READ_FILE", None),
            ("list_directry", Some("list_directory")),
            ("", None),
            ("../read_file", Some("read_file")),
        ] {
            let expected = BadCall::UnknownTool {
                given: given.to_owned(),
                nearest: nearest.map(str::to_owned),
            };
            assert_eq!(tools.validate("1", given, "{}"), Err(expected));
        }
    }

    #[test]
    fn a_valid_call_carries_the_effect_of_its_tool() {
        let call = Catalogue::default()
            .validate("7", "write_file", r#"{"path":"a","content":""}"#)
            .unwrap();
        assert_eq!(call.effect, clawdbot_domain::Effect::Write);
        assert_eq!((call.id.as_str(), call.name.as_str()), ("7", "write_file"));
    }
}
