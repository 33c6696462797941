//! Changes to a configuration file by the program itself. Everything that is not changed stays as it is, byte for byte:
//! comments, order, blank lines.

use std::fmt;

use jiff::Timestamp;
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value, value};

use super::nearest::suggestion;

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The text is no TOML.
    #[error("the configuration is no TOML")]
    Syntax {
        /// Where and why.
        #[source]
        source: toml_edit::TomlError,
    },
    /// An integration of that name exists.
    #[error("there is an integration `{name}` already")]
    Taken {
        /// The name.
        name: String,
    },
    /// No integration has that name.
    #[error("there is no integration `{name}`")]
    Unknown {
        /// The name.
        name: String,
        /// The nearest name, or all of them.
        known: String,
    },
    /// `integration` is something else than a table of tables.
    #[error("`{key}` is no table")]
    NoTable {
        /// The key.
        key: String,
    },
}

impl EditError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Syntax { .. } | Self::NoTable { .. } => {
                "`keygate check` shows what is wrong with the file".to_owned()
            }
            Self::Taken { name } => {
                format!("choose another name, or give `{name}` a new key with `keygate integration rotate {name}`")
            }
            Self::Unknown { known, .. } => known.clone(),
        }
    }
}

/// An integration to be added. The texts must be good already; check the whole file before it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewIntegration {
    /// Its name.
    pub name: String,
    /// The upstream that it may call.
    pub upstream: String,
    /// SHA-256 of its scoped key.
    pub key_sha256: [u8; 32],
    /// Whom to ask.
    pub owner: Option<String>,
    /// From when on its keys are refused.
    pub expires: Option<Timestamp>,
    /// What it may do.
    pub allow: Vec<String>,
    /// What it may not do.
    pub deny: Vec<String>,
    /// Limit over all its calls: `60/min burst 10`.
    pub limit: Option<String>,
}

/// A configuration file being changed; `to_string` gives the new text.
#[derive(Clone, Debug)]
pub struct Editor {
    document: DocumentMut,
}

impl fmt::Display for Editor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

impl Editor {
    /// Takes the text of a file. Only its syntax is looked at.
    pub fn open(text: &str) -> Result<Self, EditError> {
        let document = text.parse().map_err(|source| EditError::Syntax { source })?;
        Ok(Self { document })
    }

    /// Appends `[integration.NAME]` to the file.
    pub fn add_integration(&mut self, new: &NewIntegration) -> Result<(), EditError> {
        match self.document.get("integration") {
            Some(Item::Table(table)) if table.contains_key(&new.name) => {
                return Err(EditError::Taken { name: new.name.clone() });
            }
            None | Some(Item::Table(_)) => {}
            // `integration = { … }`: nothing can be added to it below.
            Some(_) => return Err(EditError::NoTable { key: "integration".to_owned() }),
        }
        let mut text = self.document.to_string();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&rendered(new));
        *self = Self::open(&text)?;
        Ok(())
    }

    /// Gives an integration a new key. With a time, the old key works until then; without one it ends at once, and so
    /// does a still older one.
    pub fn rotate(
        &mut self,
        name: &str,
        new_sha256: &[u8; 32],
        keep_old_until: Option<Timestamp>,
    ) -> Result<(), EditError> {
        let integration = self.integration(name)?;
        let old = integration.get("key_sha256").and_then(Item::as_str).map(str::to_owned);
        set(integration, "key_sha256", hex(new_sha256).into());
        if let Some((old, until)) = old.zip(keep_old_until) {
            set(integration, "previous_key_sha256", old.into());
            set(integration, "previous_key_until", moment(until));
        } else {
            clear(integration, "previous_key_sha256", "none");
            clear(integration, "previous_key_until", "never");
        }
        Ok(())
    }

    /// Refuses an integration's keys from now on; it stays in the file, so that the refusal can say why.
    pub fn revoke(&mut self, name: &str) -> Result<(), EditError> {
        set(self.integration(name)?, "revoked", true.into());
        Ok(())
    }

    /// The table of an integration.
    fn integration(&mut self, name: &str) -> Result<&mut dyn TableLike, EditError> {
        let no_table = |key: &str| EditError::NoTable { key: key.to_owned() };
        let empty = Item::Table(Table::new());
        let all = self.document.get("integration").unwrap_or(&empty);
        let all = all.as_table_like().ok_or_else(|| no_table("integration"))?;
        if !all.contains_key(name) {
            let names: Vec<&str> = all.iter().map(|(name, _)| name).collect();
            return Err(EditError::Unknown { name: name.to_owned(), known: suggestion(name, &names) });
        }
        let item = self.document.get_mut("integration").and_then(|all| all.get_mut(name));
        item.and_then(Item::as_table_like_mut).ok_or_else(|| no_table(&format!("integration.{name}")))
    }
}

/// The text of a new integration's table; absent parts are left out.
fn rendered(new: &NewIntegration) -> String {
    let mut table = Table::new();
    table.insert("upstream", value(&new.upstream));
    table.insert("key_sha256", value(hex(&new.key_sha256)));
    if let Some(owner) = &new.owner {
        table.insert("owner", value(owner));
    }
    if let Some(expires) = new.expires {
        table.insert("expires", Item::Value(moment(expires)));
    }
    table.insert("allow", Item::Value(list(&new.allow)));
    if !new.deny.is_empty() {
        table.insert("deny", Item::Value(list(&new.deny)));
    }
    if let Some(limit) = &new.limit {
        table.insert("limit", value(limit));
    }
    let mut all = Table::new();
    all.set_implicit(true);
    all.insert(&new.name, Item::Table(table));
    let mut document = DocumentMut::new();
    document.insert("integration", Item::Table(all));
    document.to_string()
}

/// One line when short, one entry a line otherwise.
fn list(entries: &[String]) -> Value {
    let mut array: Array = entries.iter().map(String::as_str).collect();
    if entries.iter().map(|entry| entry.len() + 4).sum::<usize>() > 90 {
        for entry in array.iter_mut() {
            entry.decor_mut().set_prefix("\n    ");
        }
        array.set_trailing_comma(true);
        array.set_trailing("\n");
    }
    Value::Array(array)
}

/// Sets a key, keeping the comment behind an earlier value.
fn set(table: &mut dyn TableLike, key: &str, mut new: Value) {
    match table.get_mut(key) {
        Some(Item::Value(old)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        _ => {
            table.insert(key, Item::Value(new));
        }
    }
}

/// Removes a key; one that says "nothing" already stays, and one with a comment above it says so from now on.
fn clear(table: &mut dyn TableLike, key: &str, nothing: &str) {
    if table.get(key).and_then(Item::as_str) == Some(nothing) {
        return;
    }
    let prefix = table.key(key).and_then(|key| key.leaf_decor().prefix()?.as_str()).unwrap_or_default();
    if prefix.contains('#') {
        set(table, key, nothing.into());
    } else {
        table.remove(key);
    }
}

/// TOML's own form of a time, whole seconds.
fn moment(time: Timestamp) -> Value {
    let text = Timestamp::from_second(time.as_second()).unwrap_or(time).to_string();
    text.parse::<toml_edit::Datetime>().map_or_else(|_| text.into(), Value::from)
}

fn hex(bytes: &[u8; 32]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    bytes.iter().flat_map(digits).collect()
}
