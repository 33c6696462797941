//! Values as they stand in the file: each with its place, and with its own error when it has the wrong type, so that
//! one wrong value never hides the next problem.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use toml::{Spanned, Value};

use super::Wrong;

/// One value, read or refused, and where it stands.
#[derive(Clone, Debug)]
pub struct Field<T> {
    /// Its place, bytes.
    pub(super) span: Range<usize>,
    /// The value, or why it is none.
    pub(super) value: Result<T, Wrong>,
}

/// A value that may stand in a [`Field`].
pub(super) trait Leaf: Sized {
    /// `a text such as "x"`: what was expected.
    const EXPECTED: &'static str;

    /// The value, when the type is right.
    fn read(value: Value) -> Option<Self>;

    /// Its JSON Schema.
    fn schema() -> Schema;
}

impl Leaf for String {
    const EXPECTED: &'static str = "a text in double quotes";

    fn read(value: Value) -> Option<Self> {
        if let Value::String(text) = value { Some(text) } else { None }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Leaf for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn read(value: Value) -> Option<Self> {
        value.as_bool()
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

impl Leaf for u32 {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295, without quotes";

    fn read(value: Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
    }
}

/// One name, or a list of names.
#[derive(Clone, Debug)]
pub(super) struct Names(pub(super) Vec<String>);

impl Leaf for Names {
    const EXPECTED: &'static str = "a name in double quotes, or a list of names";

    fn read(value: Value) -> Option<Self> {
        let one = |value: Value| if let Value::String(text) = value { Some(text) } else { None };
        match value {
            Value::Array(values) => values.into_iter().map(one).collect::<Option<_>>().map(Self),
            value => one(value).map(|name| Self(vec![name])),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// A point in time: TOML's own date or date-time, or the same in quotes.
#[derive(Clone, Debug)]
pub(super) struct Moment(pub(super) String);

impl Leaf for Moment {
    const EXPECTED: &'static str = "a date or a time: `2027-01-31`, `2027-01-31T12:00:00Z`";

    fn read(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self(text)),
            Value::Datetime(moment) => Some(Self(moment.to_string())),
            _ => None,
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl<'de, T: Leaf> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Spanned::<Value>::deserialize(deserializer)?;
        let span = value.span();
        let value = value.into_inner();
        let found = match &value {
            Value::Integer(number) => format!("the number {number}"),
            other => article(other.type_str()).to_owned(),
        };
        let wrong = || Wrong::new(format!("expected {}, found {found}", T::EXPECTED), format!("write {}", T::EXPECTED));
        Ok(Self { span, value: T::read(value).ok_or_else(wrong) })
    }
}

impl<T: Leaf> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

/// A list of texts, each with its own place. Anything else in its stead is an error of its own.
#[derive(Clone, Debug)]
pub struct List {
    /// The whole list's place, bytes.
    pub(super) span: Range<usize>,
    /// Its entries, or what stands there instead.
    pub(super) entries: Result<Vec<Field<String>>, &'static str>,
}

impl List {
    /// What to say when it is no list.
    pub(super) fn wrong(found: &str) -> Wrong {
        Wrong::new(format!("expected a list of texts, found {}", article(found)), "write `[\"one\", \"two\"]`")
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Spanned::<Entries>::deserialize(deserializer)?;
        Ok(Self { span: entries.span(), entries: entries.into_inner().0 })
    }
}

impl JsonSchema for List {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "List".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" } })
    }
}

/// The part of a [`List`] that [`Spanned`] wraps.
struct Entries(Result<Vec<Field<String>>, &'static str>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor).map(Self)
    }
}

/// Takes every type that TOML has.
struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Result<Vec<Field<String>>, &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = seq.next_element()? {
            entries.push(entry);
        }
        Ok(Ok(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err("table"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err("string"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err("boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Err("integer"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Err("float"))
    }
}

/// TOML's name of a type as words.
pub(super) fn article(kind: &str) -> &str {
    match kind {
        "string" => "a text",
        "integer" => "a number",
        "float" => "a fraction",
        "boolean" => "a boolean",
        "datetime" => "a date",
        "array" => "a list",
        "table" => "a table",
        other => other,
    }
}
