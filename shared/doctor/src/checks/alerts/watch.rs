//! How an alert must watch a metric, so that it fires when something is wrong.

use ::catalog::Catalog;

use crate::plan::{Aggregation, Alert, Condition, Filter};

/// The longest time that a condition may hold before its alert fires.
const LONGEST_SECONDS: u64 = 60 * 60;

/// A metric, and the conditions on it that fire in time. A threshold or a period may differ from the ones in terraform/:
/// between the limits, it is a choice.
pub(super) struct Watch {
    /// The type of the metric. Empty for the burn rate of an SLO.
    pub(super) metric: &'static str,
    pub(super) resource: &'static str,
    /// The label that holds the name of what the alert watches.
    pub(super) label: &'static str,
    /// A label that the filter must compare, a value that it must pass, and one that it must not pass.
    pub(super) only: Option<(&'static str, &'static str, &'static str)>,
    pub(super) limits: Limits,
    pub(super) aligners: &'static [&'static str],
    pub(super) reducers: &'static [&'static str],
    /// In seconds, the shortest and the longest.
    pub(super) periods: (u64, u64),
    /// Whether the series of one name must not be mixed with those of another.
    pub(super) keeps_apart: bool,
    /// The name of the alert in terraform/, and the position of the condition. A plan does not know each filter.
    pub(super) usual_place: (&'static str, Option<usize>),
}

pub(super) enum Limits {
    /// The condition fires when there are no series.
    Absence,
    Above {
        /// Below this threshold, the alert fires all the time.
        lowest: f64,
        /// Above this threshold, it fires late.
        usual: f64,
        /// Above this threshold, it does not fire.
        highest: fn(&Catalog, &Condition) -> f64,
        unit: &'static str,
    },
}

pub(super) struct Problem {
    pub(super) text: String,
    pub(super) remedy: String,
    pub(super) is_warning: bool,
}

fn fault(text: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { text: text.into(), remedy: remedy.into(), is_warning: false }
}

impl Watch {
    /// Whether a filter passes the time series with this name. A filter without names passes all of them.
    pub(super) fn passes(&self, filter: &Filter, name: &str) -> bool {
        if self.metric.is_empty() {
            return filter.burning_slo() == Some(name);
        }
        let is_metric = filter.clause("metric.type").is_some_and(|clause| clause.passes(self.metric));
        let is_resource = filter.clause("resource.type").is_none_or(|clause| clause.passes(self.resource));
        let is_name = filter.clause(self.label).is_none_or(|clause| clause.passes(name));
        let is_only = self.only.is_none_or(|(label, wanted, unwanted)| {
            filter.clause(label).is_some_and(|clause| clause.passes(wanted) && !clause.passes(unwanted))
        });
        is_metric && is_resource && is_name && is_only
    }

    /// Why an alert with this condition, whose filter is right, fires late or never.
    pub(super) fn problems(
        &self,
        catalog: &Catalog,
        project: Option<&str>,
        alert: &Alert,
        condition: &Condition,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        if alert.needs_all && alert.conditions.len() > 1 && !self.metric.is_empty() {
            problems.push(fault("fires only if all its conditions hold at once", "set its combiner to OR"));
        }
        problems.extend(self.threshold(catalog, condition));
        if condition.duration_seconds > LONGEST_SECONDS {
            let duration = condition.duration_seconds;
            problems.push(fault(
                format!("fires only after {duration} s"),
                format!("use a duration of minutes, at most {LONGEST_SECONDS}s"),
            ));
        }
        if let Some(trigger) = &condition.trigger {
            problems.push(fault(format!("fires only for {trigger} at once"), "remove the trigger"));
        }
        if !self.metric.is_empty() {
            problems.extend(self.aggregation(condition));
            problems.extend(self.denominator(condition));
            problems.extend(self.narrowing(project, condition));
        }
        problems
    }

    fn threshold(&self, catalog: &Catalog, condition: &Condition) -> Option<Problem> {
        let Limits::Above { lowest, usual, highest, unit } = &self.limits else { return None };
        let (threshold, highest) = (condition.threshold, highest(catalog, condition));
        let remedy = || format!("use a threshold from {lowest} to {}", usual.min(highest));
        if !condition.is_upper {
            Some(fault("fires below its threshold, not above", "use COMPARISON_GT"))
        } else if threshold > *usual || threshold >= highest {
            let text = format!("fires only above {threshold} {unit}");
            Some(Problem { is_warning: threshold < highest, ..fault(text, remedy()) })
        } else if threshold < *lowest {
            Some(fault(format!("fires all the time: already above {threshold} {unit}"), remedy()))
        } else {
            None
        }
    }

    fn aggregation(&self, condition: &Condition) -> Vec<Problem> {
        let raw = Aggregation {
            period_seconds: 0,
            aligner: "ALIGN_NONE".to_owned(),
            reducer: "REDUCE_NONE".to_owned(),
            group_by: Vec::new(),
        };
        let Aggregation { period_seconds, aligner, reducer, group_by } =
            condition.aggregation.as_ref().unwrap_or(&raw);
        let mut problems = Vec::new();
        let advice = |known: &[&str]| format!("use {}", known.join(" or "));
        if !self.aligners.contains(&aligner.as_str()) {
            problems.push(fault(format!("aligns its series with {aligner}"), advice(self.aligners)));
        }
        if !self.reducers.contains(&reducer.as_str()) {
            problems.push(fault(format!("reduces its series with {reducer}"), advice(self.reducers)));
        } else if self.keeps_apart && reducer != "REDUCE_NONE" && !group_by.iter().any(|by| by == self.label)
        {
            problems.push(fault(
                "mixes the series of all names, so sound ones hide a broken one",
                format!("add {} to its group_by_fields", self.label),
            ));
        }
        let (shortest, longest) = self.periods;
        if aligner != "ALIGN_NONE" && !(shortest..=longest).contains(period_seconds) {
            problems.push(fault(
                format!("aligns its series in periods of {period_seconds} s"),
                format!("use an alignment_period from {shortest}s to {longest}s"),
            ));
        }
        problems
    }

    /// A share compares the series that `only` passes with all of them.
    fn denominator(&self, condition: &Condition) -> Option<Problem> {
        let (filter, aggregation) = condition.denominator.as_ref()?;
        let numerator = condition.filter.as_ref()?;
        let (label, ..) = self.only?;
        let rest = || numerator.clauses.iter().filter(|clause| clause.label != label);
        let is_same = filter.clauses.len() == rest().count()
            && rest().all(|clause| filter.clauses.iter().any(|other| other.equals(clause)));
        (!is_same || *aggregation != condition.aggregation).then(|| {
            fault(
                "divides by the number of other requests",
                format!("use the filter without {label} as denominator_filter, and the same aggregation"),
            )
        })
    }

    /// The doctor cannot tell what else a filter excludes.
    fn narrowing(&self, project: Option<&str>, condition: &Condition) -> Option<Problem> {
        let only = self.only.map_or("", |(label, ..)| label);
        let known = ["metric.type", "resource.type", self.label, only];
        let narrows = condition.filter.as_ref()?.clauses.iter().find(|clause| {
            let is_project = clause.label == "resource.labels.project_id"
                && project.is_some_and(|project| clause.passes(project));
            (clause.label.is_empty() || !known.contains(&clause.label.as_str())) && !is_project
        })?;
        let text = format!("watches only what passes `{}`", narrows.text);
        Some(Problem {
            is_warning: true,
            ..fault(text, "remove it, or make sure that it passes every fault")
        })
    }
}
