//! Reads request bodies as ASP.NET's model binding does: names in any case, and every complaint at once.

use super::envelope::Problem;
use serde_json::{Map, Value};

/// Collects what is wrong with a body while it is read.
#[derive(Debug, Default)]
pub struct Reader {
    complaints: Vec<(String, Vec<String>)>,
}

/// One JSON object of a body, with its path in it (`Lines[0].`), for complaints.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    map: Option<&'a Map<String, Value>>,
    path: String,
}

/// Parses a body; anything but JSON is the API's validation error.
pub fn parse(body: &[u8]) -> Result<Value, Problem> {
    if body.is_empty() {
        return Err(Problem::invalid_field("", "A non-empty request body is required."));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::invalid_field("$", format!("The JSON value could not be read: {error}")))
}

/// Finds a member in any case; `null` counts as absent.
pub fn member<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found =
        map.get(name).or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
    found.filter(|value| !value.is_null())
}

impl<'a> Object<'a> {
    /// A member in any case.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        member(self.map?, name)
    }

    /// The object itself; empty when the body held something else in its place.
    pub fn map(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.map.into_iter().flatten()
    }

    /// `Lines[0].Quantity`.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }
}

impl Reader {
    /// Notes a complaint about a field.
    pub fn complain(&mut self, path: impl Into<String>, complaint: impl Into<String>) {
        self.complaints.push((path.into(), vec![complaint.into()]));
    }

    /// The value, or everything that was wrong.
    pub fn finish<T>(self, value: T) -> Result<T, Problem> {
        if self.complaints.is_empty() { Ok(value) } else { Err(Problem::invalid(self.complaints)) }
    }

    /// The body as one object.
    pub fn object<'a>(&mut self, value: &'a Value, path: &str) -> Object<'a> {
        let map = value.as_object();
        if map.is_none() {
            self.complain(path.trim_end_matches('.'), "A JSON object is expected here.");
        }
        Object { map, path: path.to_owned() }
    }

    /// A list of objects; `path` is the list's own, empty for the body itself.
    pub fn objects<'a>(&mut self, value: &'a Value, path: &str) -> Vec<Object<'a>> {
        let Some(items) = value.as_array() else {
            self.complain(path, "A JSON array is expected here.");
            return Vec::new();
        };
        items.iter().enumerate().map(|(at, item)| self.object(item, &format!("{path}[{at}]."))).collect()
    }

    /// A member that must be a list with at least one object.
    pub fn lines<'a>(&mut self, object: &Object<'a>, name: &str) -> Vec<Object<'a>> {
        let path = object.path(name);
        let lines = object.get(name).map(|value| self.objects(value, &path)).unwrap_or_default();
        if lines.is_empty() {
            self.complain(path, format!("'{name}' must not be empty."));
        }
        lines
    }

    /// An optional text of at most `limit` characters.
    pub fn text(&mut self, object: &Object, name: &str, limit: usize) -> Option<String> {
        let text = match object.get(name)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => {
                self.complain(object.path(name), format!("'{name}' must be a string."));
                return None;
            }
        };
        if text.chars().count() > limit {
            self.complain(object.path(name), format!("The length of '{name}' must be {limit} characters or fewer."));
        }
        Some(text)
    }

    /// A text that must be there.
    pub fn required_text(&mut self, object: &Object, name: &str, limit: usize) -> String {
        let text = self.text(object, name, limit).unwrap_or_default();
        if text.trim().is_empty() {
            self.complain(object.path(name), format!("'{name}' must not be empty."));
        }
        text
    }

    /// An optional whole number; digits in a string will do.
    pub fn integer(&mut self, object: &Object, name: &str) -> Option<i64> {
        let value = object.get(name)?;
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        let number = number.filter(|number| i32::try_from(*number).is_ok());
        if number.is_none() {
            self.complain(object.path(name), format!("'{name}' must be a 32-bit whole number."));
        }
        number
    }

    /// A whole number that must be there.
    pub fn required_integer(&mut self, object: &Object, name: &str) -> i64 {
        if object.get(name).is_none() {
            self.complain(object.path(name), format!("'{name}' must not be empty."));
        }
        self.integer(object, name).unwrap_or_default()
    }

    /// A number of pieces: there, and above zero.
    pub fn quantity(&mut self, object: &Object, name: &str) -> i64 {
        let quantity = self.required_integer(object, name);
        if quantity < 1 && object.get(name).is_some() {
            self.complain(object.path(name), format!("'{name}' must be greater than '0'."));
        }
        quantity
    }

    /// An optional decimal number.
    pub fn decimal(&mut self, object: &Object, name: &str) -> Option<f64> {
        let value = object.get(name)?;
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.complain(object.path(name), format!("'{name}' must be a number."));
        }
        number
    }

    /// A switch; absent means off.
    pub fn flag(&mut self, object: &Object, name: &str) -> bool {
        match object.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.complain(object.path(name), format!("'{name}' must be true or false."));
                false
            }
        }
    }

    /// One of a few words, in any case.
    pub fn choice(&mut self, object: &Object, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(object, name, usize::MAX)?;
        let word = words.iter().find(|word| word.eq_ignore_ascii_case(&text)).copied();
        if word.is_none() {
            self.complain(object.path(name), format!("'{name}' must be one of {}.", words.join(", ")));
        }
        word
    }

    /// A dictionary of texts, as a JSON object; `{}` when absent.
    pub fn dictionary(&mut self, object: &Object, name: &str) -> Map<String, Value> {
        match object.get(name) {
            None => Map::new(),
            Some(Value::Object(map)) if map.values().all(|value| value.is_string() || value.is_null()) => map.clone(),
            Some(_) => {
                self.complain(object.path(name), format!("'{name}' must map names to strings."));
                Map::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_found_in_any_case() {
        let body = json!({"merchantOrderNO": "M-1"});
        let mut reader = Reader::default();
        let object = reader.object(&body, "");
        assert_eq!(reader.required_text(&object, "MerchantOrderNo", 50), "M-1");
        assert!(reader.finish(()).is_ok());
    }

    #[test]
    fn every_complaint_comes_at_once() {
        let body = json!({"Lines": [{"Quantity": 0}, 7]});
        let mut reader = Reader::default();
        let object = reader.object(&body, "");
        for line in reader.lines(&object, "Lines") {
            reader.required_text(&line, "MerchantProductNo", 64);
            reader.quantity(&line, "Quantity");
        }
        let fields: Vec<String> =
            reader.finish(()).unwrap_err().validation.into_iter().map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            [
                "Lines[1]",
                "Lines[0].MerchantProductNo",
                "Lines[0].Quantity",
                "Lines[1].MerchantProductNo",
                "Lines[1].Quantity"
            ]
        );
    }

    #[test]
    fn a_body_that_is_not_json_is_a_bad_request() {
        assert_eq!(parse(b"{").unwrap_err().status, 400);
        assert_eq!(parse(b"").unwrap_err().status, 400);
    }

    #[test]
    fn a_number_beyond_32_bits_is_refused() {
        let body = json!({"OrderId": 5_000_000_000_i64});
        let mut reader = Reader::default();
        let object = reader.object(&body, "");
        reader.required_integer(&object, "OrderId");
        assert!(reader.finish(()).is_err());
    }
}
