//! What each integration may do, laid out so that a decision reads one number: rows of standings, one for each endpoint of
//! a profile, and the rules that they name. Integrations with the same rules share a row; there may be thousands.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config;

/// How an endpoint stands: bit 0 tells allowed from denied, the rest is the rule's position plus one; 0 is unlisted.
type Number = u32;

/// All rows.
#[derive(Default)]
pub(super) struct Rights {
    numbers: Vec<Number>,
    rules: Vec<Arc<str>>,
}

/// How an endpoint stands with an integration, with the rule that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    Unlisted,
    Allowed(&'a Arc<str>),
    Denied(&'a Arc<str>),
}

impl Rights {
    /// By the row's beginning and the endpoint's position in the profile.
    pub(super) fn standing(&self, row: usize, endpoint: usize) -> Standing<'_> {
        let number = self.numbers[row + endpoint];
        match (number, number & 1) {
            (0 | 1, _) => Standing::Unlisted,
            (_, 1) => Standing::Allowed(&self.rules[(number >> 1) as usize - 1]),
            (_, _) => Standing::Denied(&self.rules[(number >> 1) as usize - 1]),
        }
    }
}

/// What a row follows from: the upstream, with its profile, and the texts of `allow` and `deny`.
type Rules = (usize, Vec<Arc<str>>, Vec<Arc<str>>);

/// Lays rows out.
#[derive(Default)]
pub(super) struct Layout {
    rights: Rights,
    rows: HashMap<Rules, usize>,
    rules: HashMap<Arc<str>, Number>,
}

impl Layout {
    /// The beginning of the row of an integration whose profile has this many endpoints.
    pub(super) fn row(&mut self, it: &config::Integration, endpoints: usize) -> usize {
        let texts = |rules: &[config::Rule]| rules.iter().map(|rule| rule.text.clone()).collect();
        let key = (it.upstream, texts(&it.allow), texts(&it.deny));
        if let Some(row) = self.rows.get(&key) {
            return *row;
        }
        let row = self.rights.numbers.len();
        self.rights.numbers.resize(row + endpoints, 0);
        // The first rule that names an endpoint decides; a deny overwrites.
        for (rules, allowed) in [(&it.allow, 1), (&it.deny, 0)] {
            for rule in rules.iter().rev() {
                let number = self.number(&rule.text) << 1 | allowed;
                rule.endpoints.iter().for_each(|&endpoint| self.rights.numbers[row + endpoint] = number);
            }
        }
        self.rows.insert(key, row);
        row
    }

    /// The rule's position plus one.
    fn number(&mut self, text: &Arc<str>) -> Number {
        let rules = &mut self.rights.rules;
        *self.rules.entry(text.clone()).or_insert_with(|| {
            rules.push(text.clone());
            // Rules are lines of a file: there are fewer than fit into 31 bits.
            Number::try_from(rules.len()).unwrap_or(0)
        })
    }

    /// All of them.
    pub(super) fn done(mut self) -> Rights {
        self.rights.numbers.shrink_to_fit();
        self.rights
    }
}
