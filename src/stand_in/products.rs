//! Products: create or replace, list, read, delete. Items are rejected one by one inside a 200, as the API does.

use super::envelope::{List, Outcome, Problem, Reply};
use super::fields::{Object, Reader};
use super::product_fields::{accept, blank, proper_name};
use super::state::{Call, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Items on a page.
const PER_PAGE: usize = 100;
/// The stock location that counts when a call names none.
pub const MAIN_LOCATION: i64 = 1;

/// One product.
#[derive(Debug, Clone)]
pub struct Product {
    /// The merchant's own number.
    pub no: String,
    /// All plain fields by proper name.
    pub fields: Map<String, Value>,
    /// Custom attributes, in order.
    pub extra: Vec<Extra>,
    /// Pieces by stock location, and since when.
    pub stock: BTreeMap<i64, (i64, Timestamp)>,
    json: String,
}

/// A custom attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Extra {
    /// Unique in a product.
    pub key: String,
    /// Its value.
    pub value: Option<String>,
    /// TEXT, NUMBER, URL or IMAGEURL.
    pub r#type: &'static str,
    /// Whether channels may see it.
    pub is_public: bool,
}

impl Product {
    /// A product with all fields cleared.
    pub fn new(no: &str) -> Self {
        let mut product =
            Self { no: no.to_owned(), fields: blank(), extra: Vec::new(), stock: BTreeMap::new(), json: String::new() };
        product.changed();
        product
    }

    /// Sets the stock of one location; the product shows the sum.
    pub fn set_stock(&mut self, location: i64, pieces: i64, now: Timestamp) {
        self.stock.insert(location, (pieces, now));
        self.fields.insert("Stock".to_owned(), json!(self.stock.values().map(|(pieces, _)| pieces).sum::<i64>()));
    }

    /// Renders anew; to be called after every change.
    pub fn changed(&mut self) {
        let mut all = self.fields.clone();
        all.insert("MerchantProductNo".to_owned(), json!(self.no));
        all.insert("IsActive".to_owned(), json!(true));
        all.insert("ExtraData".to_owned(), json!(self.extra));
        self.json = Value::Object(all).to_string();
    }

    /// As the API shows it.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// A text field, empty when null.
    pub fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The price including VAT.
    pub fn price(&self) -> f64 {
        self.fields.get("Price").and_then(Value::as_f64).unwrap_or_default()
    }
}

/// What became of each item of a bulk call.
#[derive(Debug, Default)]
pub struct Report {
    accepted: usize,
    rejected: usize,
    messages: Vec<Value>,
}

impl Report {
    /// Notes one item with what is wrong (rejected) or odd (accepted).
    pub fn item(&mut self, no: &str, name: &str, errors: &[String], warnings: &[String]) {
        if errors.is_empty() {
            self.accepted += 1;
        } else {
            self.rejected += 1;
        }
        if !errors.is_empty() || !warnings.is_empty() {
            let message = json!({"Name": name, "Reference": no, "KeyReference": "MerchantProductNo", "Warnings": warnings, "Errors": errors});
            self.messages.push(message);
        }
    }

    /// The `Content` that the API answers with.
    pub fn outcome(self) -> Outcome {
        Reply::single(
            &json!({"RejectedCount": self.rejected, "AcceptedCount": self.accepted, "ProductMessages": self.messages}),
        )
    }
}

/// `POST /v2/products`: creates or fully replaces; `ignoreStock` and `ignorePrice` keep those two.
pub fn create(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let items = reader.objects(&body, "");
    let numbers: Vec<String> = items.iter().map(|item| reader.required_text(item, "MerchantProductNo", 64)).collect();
    reader.finish(())?;
    let keeps = [("Stock", call.query.flag("ignorestock")?), ("Price", call.query.flag("ignoreprice")?)];
    let kept: Vec<&str> = keeps.iter().filter(|(_, keep)| *keep == Some(true)).map(|(name, _)| *name).collect();
    let mut report = Report::default();
    for (item, no) in items.iter().zip(&numbers) {
        let (product, errors) = replacement(state, item, no, &kept, call.now);
        report.item(no, product.text("Name"), &errors, &warnings(&product));
        if errors.is_empty() {
            state.products.insert(no.clone(), product);
        }
    }
    report.outcome()
}

/// The product that an item describes, and why it cannot be.
fn replacement(state: &State, item: &Object, no: &str, kept: &[&str], now: Timestamp) -> (Product, Vec<String>) {
    let mut product = Product::new(no);
    let mut errors = Vec::new();
    for (name, value) in item.map() {
        match proper_name(name).map(|name| (name, accept(name, value))) {
            Some((name, Ok(value))) => drop(product.fields.insert(name.to_owned(), value)),
            Some((_, Err(error))) => errors.push(error),
            // Members that the API does not know are passed over, as its own deserialiser does.
            None => {}
        }
    }
    product.extra = extra_data(item.get("ExtraData"), &mut errors);
    let stock = product.fields.get("Stock").and_then(Value::as_i64).unwrap_or_default();
    product.set_stock(MAIN_LOCATION, stock, now);
    if let Some(old) = state.products.get(no) {
        keep(&mut product, old, kept);
    }
    if product.text("Name").trim().is_empty() {
        errors.push("'Name' must not be empty.".to_owned());
    }
    errors.extend(parent_error(state, &product));
    product.changed();
    (product, errors)
}

fn keep(product: &mut Product, old: &Product, kept: &[&str]) {
    for name in kept {
        if let Some(value) = old.fields.get(*name) {
            product.fields.insert((*name).to_owned(), value.clone());
        }
    }
    if kept.contains(&"Stock") {
        product.stock.clone_from(&old.stock);
    }
}

/// Parents come before their children.
fn parent_error(state: &State, product: &Product) -> Option<String> {
    let parents = [product.text("ParentMerchantProductNo"), product.text("ParentMerchantProductNo2")];
    let lost =
        parents.into_iter().find(|no| !no.is_empty() && (*no == product.no || !state.products.contains_key(*no)))?;
    Some(format!("The parent product '{lost}' was not found."))
}

/// What the API takes but would rather not see.
fn warnings(product: &Product) -> Vec<String> {
    let ean = product.text("Ean");
    let odd = !ean.is_empty() && !valid_ean(ean);
    odd.then(|| format!("The EAN '{ean}' has no valid check digit.")).into_iter().collect()
}

/// GS1's check digit for 8, 12, 13 or 14 digits.
pub fn valid_ean(ean: &str) -> bool {
    let digits: Option<Vec<u32>> = ean.chars().map(|each| each.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| [8, 12, 13, 14].contains(&digits.len())) else { return false };
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 0 { *digit } else { digit * 3 }).sum();
    sum.is_multiple_of(10)
}

fn extra_data(value: Option<&Value>, errors: &mut Vec<String>) -> Vec<Extra> {
    let Some(value) = value else { return Vec::new() };
    let mut reader = Reader::default();
    let items = reader.objects(value, "ExtraData");
    let read = |item: &Object| Extra {
        key: reader.required_text(item, "Key", 100),
        value: reader.text(item, "Value", usize::MAX),
        r#type: reader.choice(item, "Type", &["TEXT", "NUMBER", "URL", "IMAGEURL"]).unwrap_or("TEXT"),
        is_public: reader.flag(item, "IsPublic"),
    };
    let extra = items.iter().map(read).collect();
    match reader.finish(extra) {
        Ok(extra) => extra,
        Err(problem) => {
            errors.extend(problem.validation.into_iter().flat_map(|(_, complaints)| complaints));
            Vec::new()
        }
    }
}

/// `GET /v2/products`.
pub fn list(state: &State, call: &Call) -> Outcome {
    let query = &call.query;
    let search = query.one("search").map(str::to_lowercase);
    let found = state.products.values().filter(|product| {
        let hit = |word: &str| {
            product.no.to_lowercase().contains(word)
                || ["Name", "Brand", "Ean"].iter().any(|name| product.text(name).to_lowercase().contains(word))
        };
        search.as_deref().is_none_or(hit)
            && query.admits("eanlist", product.text("Ean"))
            && query.admits("merchantproductnolist", &product.no)
    });
    Ok(Reply::List(List::page(found.map(Product::json), query.page()?, PER_PAGE)))
}

/// `GET /v2/products/{merchantProductNo}`.
pub fn get(state: &State, call: &Call) -> Outcome {
    let product = state.products.get(call.param(0)).ok_or_else(|| Problem::missing("Product", call.param(0)))?;
    Ok(Reply::Single(product.json().to_owned()))
}

/// `DELETE /v2/products/{merchantProductNo}`.
pub fn delete(state: &mut State, call: &Call) -> Outcome {
    state.products.remove(call.param(0)).ok_or_else(|| Problem::missing("Product", call.param(0)))?;
    Ok(Reply::Done(StatusCode::OK))
}

/// `POST /v2/products/bulkdelete`: all of them or, when one is not there, none.
pub fn bulk_delete(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let numbers: Option<Vec<&str>> = body.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
    let numbers = numbers.filter(|numbers| !numbers.is_empty());
    let numbers =
        numbers.ok_or_else(|| Problem::invalid_field("", "A JSON array of merchant product numbers is expected."))?;
    if let Some(lost) = numbers.iter().find(|no| !state.products.contains_key(**no)) {
        return Err(Problem::missing("Product", lost));
    }
    for no in numbers {
        state.products.remove(no);
    }
    Ok(Reply::Done(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::super::state::testing::{call, content, param, query};
    use super::*;

    fn with(items: &Value) -> (State, Value) {
        let mut state = State::default();
        let report = content(create(&mut state, &call(items)));
        (state, report)
    }

    #[test]
    fn a_second_create_replaces_all_and_clears_what_is_left_out() {
        let (mut state, _) =
            with(&json!([{"MerchantProductNo": "A", "Name": "Lamp", "Brand": "Lux", "Price": 5, "Stock": 3}]));
        content(create(&mut state, &call(&json!([{"merchantproductno": "A", "name": "Light"}]))));
        let shown = content(get(&state, &param("A", &Value::Null)));
        assert_eq!((&shown["Name"], &shown["Brand"], &shown["Stock"]), (&json!("Light"), &Value::Null, &json!(0)));
    }

    #[test]
    fn ignore_stock_and_price_keep_those_two() {
        let (mut state, _) = with(&json!([{"MerchantProductNo": "A", "Name": "Lamp", "Price": 5, "Stock": 3}]));
        let mut again = call(&json!([{"MerchantProductNo": "A", "Name": "Light"}]));
        again.query = super::super::target::Query::parse("ignoreStock=true&ignorePrice=TRUE");
        content(create(&mut state, &again));
        let shown = content(get(&state, &param("A", &Value::Null)));
        assert_eq!((&shown["Price"], &shown["Stock"]), (&json!(5.0), &json!(3)));
    }

    #[test]
    fn bad_items_are_rejected_one_by_one_inside_a_success() {
        let (state, report) = with(&json!([
            {"MerchantProductNo": "P", "Name": "Parent"},
            {"MerchantProductNo": "C", "Name": "Child", "ParentMerchantProductNo": "P", "Ean": "123"},
            {"MerchantProductNo": "X", "Name": "Orphan", "ParentMerchantProductNo": "none"},
            {"MerchantProductNo": "Y", "Price": -1}
        ]));
        assert_eq!((&report["RejectedCount"], &report["AcceptedCount"]), (&json!(2), &json!(2)));
        assert_eq!(report["ProductMessages"][0]["Warnings"].as_array().unwrap().len(), 1);
        assert_eq!(report["ProductMessages"][2]["Errors"].as_array().unwrap().len(), 2);
        assert_eq!(state.products.keys().collect::<Vec<_>>(), ["C", "P"]);
    }

    #[test]
    fn an_item_without_a_number_refuses_the_whole_call() {
        let mut state = State::default();
        let problem = create(&mut state, &call(&json!([{"Name": "Lamp"}]))).unwrap_err();
        assert_eq!(problem.validation[0].0, "[0].MerchantProductNo");
    }

    #[test]
    fn a_search_looks_at_number_name_brand_and_ean() {
        let (state, _) = with(
            &json!([{"MerchantProductNo": "A", "Name": "Lamp"}, {"MerchantProductNo": "B", "Name": "Chair", "Ean": "4006381333931"}]),
        );
        assert_eq!(content(list(&state, &query("search=LAMP"))).as_array().unwrap().len(), 1);
        assert_eq!(content(list(&state, &query("eanList=4006381333931&eanlist=1")))[0]["MerchantProductNo"], "B");
        assert_eq!(content(list(&state, &query("merchantProductNoList=a")))[0]["Name"], "Lamp");
    }

    #[test]
    fn a_deleted_product_is_gone_and_a_bulk_delete_is_all_or_nothing() {
        let (mut state, _) =
            with(&json!([{"MerchantProductNo": "A", "Name": "Lamp"}, {"MerchantProductNo": "B", "Name": "Chair"}]));
        assert_eq!(bulk_delete(&mut state, &call(&json!(["A", "no"]))).unwrap_err().status, 404);
        assert_eq!(state.products.len(), 2);
        assert!(
            bulk_delete(&mut state, &call(&json!(["A"]))).is_ok()
                && delete(&mut state, &param("B", &Value::Null)).is_ok()
        );
        assert_eq!(delete(&mut state, &param("B", &Value::Null)).unwrap_err().status, 404);
    }
}
