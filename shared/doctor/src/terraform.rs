//! The output of `terraform show -json`, for a plan or a state.
//! <https://developer.hashicorp.com/terraform/internals/json-format>

use std::collections::BTreeMap;

use serde_json::Value;

/// The resources that exist (a state), or that will exist (a plan).
pub(super) struct Document {
    pub(super) kind: Kind,
    /// Only a plan has them.
    variables: Value,
    pub(super) resources: Vec<Resource>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plan,
    /// What exists, as Terraform last saw it.
    State,
    /// What exists now: the output of `terraform plan -refresh-only`.
    RefreshedState,
}

/// One instance of a resource.
pub(super) struct Resource {
    pub(super) kind: String,
    address: String,
    /// The key in `for_each`, or the number in `count`.
    index: Option<String>,
    values: Value,
    /// The expressions that the values come from. Only a plan has them.
    expressions: Value,
}

impl Document {
    pub(super) fn read(json: &str) -> Result<Self, String> {
        let root: Value = serde_json::from_str(json)
            .map_err(|error| format!("it is not the output of `terraform show -json`: {error}"))?;
        let version = root["format_version"].as_str().unwrap_or_default();
        if !version.starts_with("1.") {
            return Err(format!(
                "it is not the output of `terraform show -json`: format_version is \"{version}\", not 1.x"
            ));
        }
        if root["errored"] == true {
            return Err("it is a plan that failed, so it is incomplete".to_owned());
        }
        // A plan that changes nothing and plans nothing has read what exists.
        let is_refreshed = entries(&root["resource_changes"]).next().is_none()
            && entries(&root["planned_values"]["root_module"]["resources"]).next().is_none()
            && !root["prior_state"].is_null();
        let (kind, values) = match &root["planned_values"] {
            _ if is_refreshed => (Kind::RefreshedState, &root["prior_state"]["values"]),
            Value::Null => (Kind::State, &root["values"]),
            planned => (Kind::Plan, planned),
        };
        let mut expressions = BTreeMap::new();
        collect_expressions(&root["configuration"]["root_module"], "", &mut expressions);
        let mut resources = Vec::new();
        collect_resources(&values["root_module"], &expressions, &mut resources);
        if resources.is_empty() {
            return Err("it has no resources: nothing is deployed".to_owned());
        }
        // A state has no variables, and those of a plan that only refreshes it need not be those of the deployment.
        let variables = if kind == Kind::Plan { root["variables"].clone() } else { Value::Null };
        Ok(Self { kind, variables, resources })
    }

    pub(super) fn variable(&self, name: &str) -> Option<&Value> {
        self.variables.get(name)?.get("value")
    }

    pub(super) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().filter(move |resource| resource.kind == kind)
    }

    /// The resource that will determine a value which the plan does not know yet.
    ///
    /// The configuration has an expression such as `google_pubsub_topic.events[each.value.topic]`, but not
    /// the value of `each.value`. `each_value` returns it for the resource's key and the field.
    pub(super) fn source_of(
        &self,
        resource: &Resource,
        pointer: &str,
        each_value: impl Fn(&str, &str) -> Option<String>,
    ) -> Option<&Resource> {
        let references = resource.expressions.pointer(pointer)?.get("references")?.as_array()?;
        let references: Vec<&str> = references.iter().filter_map(Value::as_str).collect();
        let source = references.iter().find(|reference| reference.starts_with("google_"))?;
        let mut parts = source.splitn(3, '.');
        let (kind, rest) = (parts.next()?, parts.next()?);
        let (name, literal) = match rest.split_once('[') {
            Some((name, key)) => (name, Some(key.trim_end_matches(']').trim_matches('"').to_owned())),
            None => (rest, None),
        };
        let key = literal.or_else(|| {
            let index = resource.index.as_deref()?;
            if references.contains(&"each.key") {
                return Some(index.to_owned());
            }
            let field = references.iter().find_map(|reference| reference.strip_prefix("each.value."))?;
            each_value(index, field)
        });
        let address = format!("{}{kind}.{name}", module(&resource.address));
        let is_source = |other: &&Resource| address == without_keys(&other.address) && other.index == key;
        self.resources.iter().filter(|other| other.kind == kind).find(is_source)
    }
}

/// What a plan or a state tells about a setting.
pub(super) enum Known<'a> {
    Value(&'a Value),
    /// It is not set, or it is empty.
    Absent,
    /// It is known after the apply.
    Unknown,
}

impl Resource {
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns `y` for `module.a["b"].google_x.y["z"]`.
    pub(super) fn name(&self) -> String {
        without_keys(&self.address).rsplit('.').next().unwrap_or_default().to_owned()
    }

    /// The key in `for_each`, or the number in `count`.
    pub(super) fn index(&self) -> Option<&str> {
        self.index.as_deref()
    }

    pub(super) fn value(&self, pointer: &str) -> Option<&Value> {
        self.values.pointer(pointer).filter(|value| !value.is_null())
    }

    /// A setting, or each of several: `*` in the path stands for each item of a list.
    pub(super) fn known(&self, path: &str) -> Vec<Known<'_>> {
        let mut found = Vec::new();
        collect_known(&self.values, &path.split('/').collect::<Vec<_>>(), &mut found);
        found
    }

    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.value(pointer)?.as_str()
    }

    pub(super) fn texts(&self, pointer: &str) -> Vec<String> {
        let texts = self.list(pointer).iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    pub(super) fn number(&self, pointer: &str) -> Option<u64> {
        self.value(pointer)?.as_u64()
    }

    pub(super) fn is_true(&self, pointer: &str) -> bool {
        self.value(pointer) == Some(&Value::Bool(true))
    }

    /// Whether the list is known to be empty. A plan leaves out what it does not know yet.
    pub(super) fn is_empty(&self, name: &str) -> bool {
        match self.values.get(name) {
            Some(Value::Array(items)) => items.is_empty(),
            Some(other) => other.is_null(),
            None => false,
        }
    }

    pub(super) fn seconds(&self, pointer: &str) -> Option<u64> {
        seconds(self.text(pointer)?)
    }

    /// A list or the blocks of one kind, which are lists, too.
    pub(super) fn list(&self, pointer: &str) -> &[Value] {
        self.value(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// Parses a duration such as `"604800s"`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    text.strip_suffix('s')?.split('.').next()?.parse().ok()
}

fn collect_known<'a>(value: &'a Value, path: &[&str], found: &mut Vec<Known<'a>>) {
    match (value, path) {
        (Value::Null, _) => found.push(Known::Absent),
        (Value::Array(items), _) if items.is_empty() => found.push(Known::Absent),
        (Value::String(text), []) if text.is_empty() => found.push(Known::Absent),
        (_, []) => found.push(Known::Value(value)),
        (Value::Array(items), ["*", rest @ ..]) => {
            items.iter().for_each(|item| collect_known(item, rest, found));
        }
        (Value::Array(items), [index, rest @ ..]) => match index.parse::<usize>().map(|at| items.get(at)) {
            Ok(Some(item)) => collect_known(item, rest, found),
            _ => found.push(Known::Absent),
        },
        // A plan leaves out what it does not know yet.
        (_, [name, rest @ ..]) => match value.get(name) {
            Some(inner) => collect_known(inner, rest, found),
            None => found.push(Known::Unknown),
        },
    }
}

fn collect_resources(module: &Value, expressions: &BTreeMap<String, Value>, resources: &mut Vec<Resource>) {
    for resource in entries(&module["resources"]).filter(|resource| resource["mode"] == "managed") {
        let address = resource["address"].as_str().unwrap_or_default();
        resources.push(Resource {
            kind: resource["type"].as_str().unwrap_or_default().to_owned(),
            address: address.to_owned(),
            index: match &resource["index"] {
                Value::Null => None,
                Value::String(key) => Some(key.clone()),
                number => Some(number.to_string()),
            },
            values: resource["values"].clone(),
            expressions: expressions.get(&without_keys(address)).cloned().unwrap_or_default(),
        });
    }
    for child in entries(&module["child_modules"]) {
        collect_resources(child, expressions, resources);
    }
}

fn collect_expressions(module: &Value, path: &str, expressions: &mut BTreeMap<String, Value>) {
    for resource in entries(&module["resources"]) {
        let address = resource["address"].as_str().unwrap_or_default();
        expressions.insert(format!("{path}{address}"), resource["expressions"].clone());
    }
    for (name, call) in module["module_calls"].as_object().into_iter().flatten() {
        collect_expressions(&call["module"], &format!("{path}module.{name}."), expressions);
    }
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Returns `module.a.google_x.y` for `module.a["b"].google_x.y["z"]`.
fn without_keys(address: &str) -> String {
    let mut kept = String::new();
    let (mut in_key, mut in_quotes) = (false, false);
    for char in address.chars() {
        match char {
            '"' => in_quotes = !in_quotes,
            '[' if !in_quotes => in_key = true,
            ']' if !in_quotes => in_key = false,
            _ if !in_key => kept.push(char),
            _ => {}
        }
    }
    kept
}

/// Returns `module.a.` for `module.a["b"].google_x.y`.
fn module(address: &str) -> String {
    let address = without_keys(address);
    match address.rfind("google_") {
        Some(begin) => address[..begin].to_owned(),
        None => String::new(),
    }
}
