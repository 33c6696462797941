//! Changes to parts of products: JSON Patch on one, chosen properties on many, custom attributes.

use super::envelope::{Outcome, Problem};
use super::fields::{Object, Reader};
use super::product_fields::{accept, proper_name};
use super::products::{Extra, MAIN_LOCATION, Product, Report};
use super::state::{Call, State};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;

/// `PATCH /v2/products/{merchantProductNo}`: `[{"op": "replace", "path": "/Name", "value": "…"}]`, all or nothing.
pub fn patch(state: &mut State, call: &Call) -> Outcome {
    let old = state.products.get_mut(call.param(0)).ok_or_else(|| Problem::missing("Product", call.param(0)))?;
    let body = call.json()?;
    let mut reader = Reader::default();
    let mut product = old.clone();
    for operation in reader.objects(&body, "") {
        let op = reader.choice(&operation, "op", &["add", "replace", "remove"]).unwrap_or_default();
        let path = reader.required_text(&operation, "path", 256);
        let value = if op == "remove" { &Value::Null } else { operation.get("value").unwrap_or(&Value::Null) };
        if let Err(error) = set(&mut product, path.trim_start_matches('/'), value, call.now) {
            reader.complain(operation.path("path"), error);
        }
    }
    reader.finish(())?;
    product.changed();
    let mut report = Report::default();
    report.item(&product.no, product.text("Name"), &[], &[]);
    *old = product;
    report.outcome()
}

fn set(product: &mut Product, name: &str, value: &Value, now: Timestamp) -> Result<(), String> {
    let name = proper_name(name).ok_or_else(|| format!("'{name}' is not a property that can be updated."))?;
    let value = accept(name, value)?;
    if name == "Name" && value.as_str().unwrap_or_default().trim().is_empty() {
        return Err("'Name' must not be empty.".to_owned());
    }
    if name == "Stock" {
        product.stock.clear();
        product.set_stock(MAIN_LOCATION, value.as_i64().unwrap_or_default(), now);
    } else {
        product.fields.insert(name.to_owned(), value);
    }
    Ok(())
}

/// `PATCH /v2/products`: `{PropertiesToUpdate: [names], MerchantProductRequestModels: [products]}`.
pub fn bulk(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let names = properties(&mut reader, &request);
    let models = reader.lines(&request, "MerchantProductRequestModels");
    let numbers: Vec<String> =
        models.iter().map(|model| reader.required_text(model, "MerchantProductNo", 64)).collect();
    reader.finish(())?;
    let mut report = Report::default();
    for (model, no) in models.iter().zip(&numbers) {
        let errors = update(state, no, |product| {
            let value = |name: &str| {
                model.map().find(|(key, _)| proper_name(key) == Some(name)).map_or(&Value::Null, |(_, value)| value)
            };
            names.iter().filter_map(|name| set(product, name, value(name), call.now).err()).collect()
        });
        report.item(no, "", &errors, &[]);
    }
    report.outcome()
}

fn properties(reader: &mut Reader, request: &Object) -> Vec<&'static str> {
    let Some(Value::Array(items)) = request.get("PropertiesToUpdate") else {
        reader.complain("PropertiesToUpdate", "'PropertiesToUpdate' must not be empty.");
        return Vec::new();
    };
    let mut names = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let text = item.as_str().unwrap_or_default();
        match proper_name(text) {
            Some(name) => names.push(name),
            // Listed by the API among the names, though it is the key by which products are found.
            None if text.eq_ignore_ascii_case("merchantproductno") => {}
            None => reader.complain(
                format!("PropertiesToUpdate[{at}]"),
                format!("'{text}' is not a property that can be updated."),
            ),
        }
    }
    names
}

/// Changes one product unless something is wrong with it.
fn update(state: &mut State, no: &str, change: impl FnOnce(&mut Product) -> Vec<String>) -> Vec<String> {
    let Some(old) = state.products.get_mut(no) else { return vec![format!("Product '{no}' was not found.")] };
    let mut product = old.clone();
    let errors = change(&mut product);
    if errors.is_empty() {
        product.changed();
        *old = product;
    }
    errors
}

/// `PATCH /v2/products/extra-data`: custom attributes of one product.
pub fn extra_data(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let changes = vec![read_changes(&mut reader, &request)];
    apply(state, &reader.finish(changes)?)
}

/// `PATCH /v2/products/extra-data/bulk`: custom attributes of many products; 409 when one is named twice.
pub fn extra_data_bulk(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let changes = reader.objects(&body, "").iter().map(|request| read_changes(&mut reader, request)).collect();
    let changes: Vec<Changes> = reader.finish(changes)?;
    let mut seen = HashSet::new();
    if let Some(twice) = changes.iter().find(|changes| !seen.insert(&changes.no)) {
        return Err(Problem::new(StatusCode::CONFLICT, format!("The product '{}' is named more than once.", twice.no)));
    }
    apply(state, &changes)
}

struct Changes {
    no: String,
    operations: Vec<(&'static str, String, Option<String>)>,
}

fn read_changes(reader: &mut Reader, request: &Object) -> Changes {
    let no = reader.required_text(request, "MerchantProductNo", 64);
    let lines = reader.lines(request, "Operations");
    let operations = lines.iter().map(|line| {
        let op = reader.choice(line, "Op", &["add", "replace", "remove"]);
        if line.get("Op").is_none() {
            reader.complain(line.path("Op"), "'Op' must not be empty.");
        }
        (op.unwrap_or_default(), reader.required_text(line, "Key", 100), reader.text(line, "Value", usize::MAX))
    });
    Changes { no, operations: operations.collect() }
}

fn apply(state: &mut State, changes: &[Changes]) -> Outcome {
    let mut report = Report::default();
    for Changes { no, operations } in changes {
        let errors = update(state, no, |product| {
            operations.iter().filter_map(|(op, key, value)| set_extra(product, op, key, value.clone()).err()).collect()
        });
        report.item(no, "", &errors, &[]);
    }
    report.outcome()
}

fn set_extra(product: &mut Product, op: &str, key: &str, value: Option<String>) -> Result<(), String> {
    let at = product.extra.iter().position(|extra| extra.key == key);
    match (op, at) {
        ("remove", Some(at)) => drop(product.extra.remove(at)),
        ("add", None) => product.extra.push(Extra { key: key.to_owned(), value, r#type: "TEXT", is_public: false }),
        ("add" | "replace", Some(at)) => product.extra[at].value = value,
        _ => return Err(format!("The product has no extra data with the key '{key}'.")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::products;
    use super::super::state::testing::{call, content, param};
    use super::*;
    use serde_json::json;

    fn two() -> State {
        let mut state = State::default();
        let body = json!([{"MerchantProductNo": "A", "Name": "Lamp", "Price": 5}, {"MerchantProductNo": "B", "Name": "Chair"}]);
        content(products::create(&mut state, &call(&body)));
        state
    }

    fn shown(state: &State, no: &str) -> Value {
        content(products::get(state, &param(no, &Value::Null)))
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let mut state = two();
        content(patch(&mut state, &param("A", &json!([{"op": "replace", "path": "/name", "value": "Light"}]))));
        assert_eq!((&shown(&state, "A")["Name"], &shown(&state, "A")["Price"]), (&json!("Light"), &json!(5.0)));
    }

    #[test]
    fn a_patch_with_one_bad_operation_changes_nothing() {
        let mut state = two();
        let body = json!([{"op": "replace", "path": "/Brand", "value": "Lux"}, {"op": "replace", "path": "/Price", "value": -1}]);
        assert_eq!(patch(&mut state, &param("A", &body)).unwrap_err().status, 400);
        assert_eq!(shown(&state, "A")["Brand"], Value::Null);
        assert_eq!(patch(&mut state, &param("none", &body)).unwrap_err().status, 404);
    }

    #[test]
    fn a_bulk_patch_rejects_unknown_products_one_by_one() {
        let mut state = two();
        let models = json!([{"MerchantProductNo": "A", "Stock": 9}, {"MerchantProductNo": "none", "Stock": 1}]);
        let report = content(bulk(
            &mut state,
            &call(&json!({"PropertiesToUpdate": ["stock"], "MerchantProductRequestModels": models})),
        ));
        assert_eq!((&report["AcceptedCount"], &report["RejectedCount"]), (&json!(1), &json!(1)));
        assert_eq!((&shown(&state, "A")["Stock"], &shown(&state, "A")["Name"]), (&json!(9), &json!("Lamp")));
    }

    #[test]
    fn extra_data_is_added_replaced_and_removed() {
        let mut state = two();
        let change = |state: &mut State, op: &str| {
            let item =
                |no: &str| json!({"MerchantProductNo": no, "Operations": [{"Op": op, "Key": "Material", "Value": op}]});
            content(extra_data_bulk(state, &call(&json!([item("A"), item("B")]))))
        };
        assert_eq!(change(&mut state, "replace")["RejectedCount"], 2);
        assert_eq!(change(&mut state, "add")["RejectedCount"], 0);
        assert_eq!(shown(&state, "B")["ExtraData"][0]["Value"], "add");
        assert_eq!(change(&mut state, "remove")["RejectedCount"], 0);
        assert_eq!(shown(&state, "B")["ExtraData"], json!([]));
    }

    #[test]
    fn a_product_named_twice_is_a_conflict() {
        let item = json!({"MerchantProductNo": "A", "Operations": [{"Op": "add", "Key": "k"}]});
        assert_eq!(extra_data_bulk(&mut two(), &call(&json!([item, item]))).unwrap_err().status, 409);
    }
}
