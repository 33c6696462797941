//! The fields of a product as data: name, kind and limits; what is left out, what a value must look like.

use serde_json::{Map, Value, json};

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Text of at most so many characters, or null.
    Text(usize),
    /// A whole number; 0 when left out.
    Whole,
    /// An amount; 0 when left out.
    Amount,
    /// An amount or null.
    MaybeAmount,
    /// On or off.
    Flag,
    /// One of the VAT rates; STANDARD when left out.
    VatRate,
}

const VAT_RATES: [&str; 4] = ["STANDARD", "REDUCED", "SUPER_REDUCED", "EXEMPT"];

const FIELDS: &[(&str, Kind)] = &[
    ("ParentMerchantProductNo", Kind::Text(64)),
    ("ParentMerchantProductNo2", Kind::Text(64)),
    ("Name", Kind::Text(256)),
    ("Description", Kind::Text(usize::MAX)),
    ("Brand", Kind::Text(256)),
    ("Size", Kind::Text(64)),
    ("Color", Kind::Text(64)),
    ("Ean", Kind::Text(64)),
    ("ManufacturerProductNumber", Kind::Text(64)),
    ("Stock", Kind::Whole),
    ("Price", Kind::Amount),
    ("MinPrice", Kind::MaybeAmount),
    ("MaxPrice", Kind::MaybeAmount),
    ("MSRP", Kind::MaybeAmount),
    ("PurchasePrice", Kind::MaybeAmount),
    ("VatRateType", Kind::VatRate),
    ("ShippingCost", Kind::MaybeAmount),
    ("ShippingTime", Kind::Text(128)),
    ("Url", Kind::Text(512)),
    ("ImageUrl", Kind::Text(512)),
    ("ExtraImageUrl1", Kind::Text(512)),
    ("ExtraImageUrl2", Kind::Text(512)),
    ("ExtraImageUrl3", Kind::Text(512)),
    ("ExtraImageUrl4", Kind::Text(512)),
    ("ExtraImageUrl5", Kind::Text(512)),
    ("ExtraImageUrl6", Kind::Text(512)),
    ("ExtraImageUrl7", Kind::Text(512)),
    ("ExtraImageUrl8", Kind::Text(512)),
    ("ExtraImageUrl9", Kind::Text(512)),
    ("IsFrozen", Kind::Flag),
    ("CategoryTrail", Kind::Text(usize::MAX)),
];

/// Older names that the API still takes.
const ALIASES: &[(&str, &str)] = &[
    ("groupno", "ParentMerchantProductNo"),
    ("groupno2", "ParentMerchantProductNo2"),
    ("vendorproductno", "ManufacturerProductNumber"),
    ("listprice", "MSRP"),
];

/// A field's proper name, found in any case or by an older name.
pub fn proper_name(name: &str) -> Option<&'static str> {
    let alias = ALIASES.iter().find(|(old, _)| old.eq_ignore_ascii_case(name)).map(|(_, new)| *new);
    FIELDS.iter().map(|(field, _)| *field).find(|field| field.eq_ignore_ascii_case(alias.unwrap_or(name)))
}

/// All fields as they are when left out.
pub fn blank() -> Map<String, Value> {
    FIELDS.iter().map(|(name, kind)| ((*name).to_owned(), empty(*kind))).collect()
}

fn empty(kind: Kind) -> Value {
    match kind {
        Kind::Text(_) | Kind::MaybeAmount => Value::Null,
        Kind::Whole => json!(0),
        Kind::Amount => json!(0.0),
        Kind::Flag => json!(false),
        Kind::VatRate => json!(VAT_RATES[0]),
    }
}

/// Checks a value for the field of this proper name; null clears it.
pub fn accept(name: &str, value: &Value) -> Result<Value, String> {
    let Some((_, kind)) = FIELDS.iter().find(|(field, _)| *field == name) else {
        return Err(format!("'{name}' is not a property of a product."));
    };
    if value.is_null() {
        return Ok(empty(*kind));
    }
    let number = || value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number: &f64| number.is_finite());
    match kind {
        Kind::Text(limit) => text(name, value, *limit),
        Kind::Whole => whole(name, value),
        Kind::Amount | Kind::MaybeAmount => match number() {
            Some(number) if number >= 0.0 => Ok(json!(number)),
            Some(_) => Err(format!("'{name}' must be greater than or equal to '0'.")),
            None => Err(format!("'{name}' must be a number.")),
        },
        Kind::Flag if value.is_boolean() => Ok(value.clone()),
        Kind::Flag => Err(format!("'{name}' must be true or false.")),
        Kind::VatRate => {
            let word = VAT_RATES.iter().find(|word| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(word)));
            word.map(|word| json!(word)).ok_or_else(|| format!("'{name}' must be one of {}.", VAT_RATES.join(", ")))
        }
    }
}

fn text(name: &str, value: &Value, limit: usize) -> Result<Value, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(format!("'{name}' must be a string.")),
    };
    if text.chars().count() > limit {
        return Err(format!("The length of '{name}' must be {limit} characters or fewer."));
    }
    Ok(json!(text))
}

fn whole(name: &str, value: &Value) -> Result<Value, String> {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    match number.filter(|number| i32::try_from(*number).is_ok()) {
        Some(number) => Ok(json!(number)),
        None => Err(format!("'{name}' must be a 32-bit whole number.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_by_older_names() {
        assert_eq!(proper_name("msrp"), Some("MSRP"));
        assert_eq!(proper_name("ListPrice"), Some("MSRP"));
        assert_eq!(proper_name("GroupNo"), Some("ParentMerchantProductNo"));
        assert_eq!(proper_name("Colour"), None);
    }

    #[test]
    fn what_is_left_out_is_cleared_and_numbers_become_nought() {
        let blank = blank();
        assert_eq!((&blank["Name"], &blank["Stock"], &blank["Price"]), (&Value::Null, &json!(0), &json!(0.0)));
    }

    #[test]
    fn values_are_checked_by_kind() {
        assert_eq!(accept("Price", &json!("12.5")), Ok(json!(12.5)));
        assert!(accept("Price", &json!(-1)).is_err() && accept("Stock", &json!(3_000_000_000_i64)).is_err());
        assert!(accept("Size", &json!("x".repeat(65))).is_err() && accept("VatRateType", &json!("LUXURY")).is_err());
        assert_eq!(accept("VatRateType", &json!("reduced")), Ok(json!("REDUCED")));
    }
}
