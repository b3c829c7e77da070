//! Filters of Cloud Monitoring, such as `metric.type = "…" AND resource.labels.queue_id = one_of("a", "b")`.
//! <https://cloud.google.com/monitoring/api/v3/filters>

pub(crate) struct Filter {
    /// All of them must be true.
    pub(crate) clauses: Vec<Clause>,
    text: String,
}

/// A comparison of a label, or of `metric.type` or `resource.type`.
pub(crate) struct Clause {
    /// Empty if this module does not understand the clause.
    pub(crate) label: String,
    pub(crate) is_negated: bool,
    values: Vec<Value>,
    pub(crate) text: String,
}

#[derive(PartialEq)]
enum Value {
    Is(String),
    StartsWith(String),
}

impl Filter {
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { clauses: split(&text, " AND ").into_iter().map(Clause::parse).collect(), text }
    }

    pub(crate) fn clause(&self, label: &str) -> Option<&Clause> {
        self.clauses.iter().find(|clause| clause.label == label)
    }

    /// The SLO of a filter such as `select_slo_burn_rate("projects/1/…", "3600s")`.
    pub(crate) fn burning_slo(&self) -> Option<&str> {
        let (slo, _) = self.text.strip_prefix("select_slo_burn_rate(\"")?.split_once('"')?;
        self.text.ends_with("s\")").then_some(slo)
    }
}

impl Clause {
    fn parse(text: &str) -> Self {
        let understood = || {
            let (label, is_negated, value) = match text.split_once("!=") {
                Some((label, value)) => (label, true, value),
                None => text.split_once('=').map(|(label, value)| (label, false, value))?,
            };
            let label = label.trim().replace("resource.label.", "resource.labels.");
            let label = label.replace("metric.label.", "metric.labels.");
            let is_label = label.chars().all(|char| char.is_ascii_alphanumeric() || "._".contains(char));
            Some((label, is_negated, values(value.trim())?)).filter(|_| is_label)
        };
        let (label, is_negated, values) = understood().unwrap_or_default();
        Self { label, is_negated, values, text: text.trim().to_owned() }
    }

    /// Whether the clause is true for this value of its label.
    pub(crate) fn passes(&self, value: &str) -> bool {
        let is_listed = self.values.iter().any(|listed| match listed {
            Value::Is(text) => text == value,
            Value::StartsWith(text) => value.starts_with(text.as_str()),
        });
        is_listed != self.is_negated
    }

    /// Whether both pass the same values.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        (&self.label, self.is_negated, &self.values) == (&other.label, other.is_negated, &other.values)
            && (!self.label.is_empty() || self.text == other.text)
    }
}

/// The values of `"a"`, `one_of("a", "b")`, `("a" OR "b")` and `starts_with("a")`.
fn values(text: &str) -> Option<Vec<Value>> {
    let quoted = |text: &str| {
        let inner = text.trim().strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains('"')).then(|| inner.to_owned())
    };
    if let Some(value) = quoted(text) {
        return Some(vec![Value::Is(value)]);
    }
    let (function, arguments) = text.strip_suffix(')')?.split_once('(')?;
    match function {
        "one_of" => split(arguments, ",").into_iter().map(|each| Some(Value::Is(quoted(each)?))).collect(),
        "" => split(arguments, " OR ").into_iter().map(|each| Some(Value::Is(quoted(each)?))).collect(),
        "starts_with" => Some(vec![Value::StartsWith(quoted(arguments)?)]),
        _ => None,
    }
}

/// Splits at a separator, but not within quotes or parentheses.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut begin, mut depth, mut in_quotes) = (Vec::new(), 0, 0_i32, false);
    for (at, char) in text.char_indices() {
        match char {
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            ')' if !in_quotes => depth -= 1,
            _ if !in_quotes && depth == 0 && at >= begin && text[at..].starts_with(separator) => {
                parts.push(&text[begin..at]);
                begin = at + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}
