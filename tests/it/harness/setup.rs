//! What a test wants to be different from what `keygate init` sets up.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, Value};

use super::random_hex;

/// An upstream to point the gate at.
#[derive(Clone)]
pub struct Target {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What its certificate is signed by.
    pub ca_pem: String,
    /// Where the API begins: `/api`.
    pub base_path: String,
}

/// A change of the configuration, made after the commands have written it.
pub type Edit = Box<dyn FnOnce(&mut DocumentMut, &Path) + Send + Sync>;

/// Everything a test can choose before the gate starts.
pub struct Setup {
    /// The built-in profile, `channelengine` by default.
    pub profile: Option<String>,
    /// The real key; fresh by default.
    pub key: String,
    /// Integrations with the arguments after `--upstream`.
    pub integrations: Vec<(String, Vec<String>)>,
    /// What stands in place of `keygate run` before its arguments: `sh -c '…; exec "$@"' sh`.
    pub wrapper: Vec<String>,
    /// Arguments of `keygate run`.
    pub run_args: Vec<String>,
    /// Changes of the configuration.
    pub edits: Vec<Edit>,
}

impl Setup {
    pub(super) fn new() -> Self {
        Self {
            profile: None,
            key: random_hex(40),
            integrations: Vec::new(),
            wrapper: Vec::new(),
            run_args: Vec::new(),
            edits: Vec::new(),
        }
    }

    /// Adds an integration with arguments of `keygate integration add`: `--allow`, `orders:read`, ….
    pub fn integration(&mut self, name: &str, args: &[&str]) -> &mut Self {
        self.integrations.push((name.into(), args.iter().map(|a| (*a).to_owned()).collect()));
        self
    }

    /// Sets one key of the configuration: `&["listen", "max_body"]`.
    pub fn set(&mut self, key: &[&str], value: impl Into<Value>) -> &mut Self {
        let (key, value) = (key.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>(), value.into());
        self.edit(move |config, _| put(config, &key, value))
    }

    /// Changes the configuration; the second argument is the folder it stands in.
    pub fn edit(&mut self, edit: impl FnOnce(&mut DocumentMut, &Path) + Send + Sync + 'static) -> &mut Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// Runs the gate below another program.
    pub fn under(&mut self, wrapper: &[&str]) -> &mut Self {
        self.wrapper = wrapper.iter().map(|w| (*w).to_owned()).collect();
        self
    }
}

/// Sets one key, making the tables on the way.
pub fn put(config: &mut DocumentMut, key: &[String], value: impl Into<Value>) {
    let (last, tables) = key.split_last().unwrap();
    let mut table: &mut Table = config.as_table_mut();
    for name in tables {
        let entry = table.entry(name).or_insert_with(|| {
            let mut fresh = Table::new();
            fresh.set_implicit(true);
            Item::Table(fresh)
        });
        table = entry.as_table_mut().unwrap_or_else(|| panic!("`{name}` is no table"));
    }
    table.set_implicit(false);
    table.insert(last, Item::Value(value.into()));
}
