//! Offers: price and stock of many products at once; what is wrong with an item is told inside a 200.

use super::envelope::{List, Outcome, Reply, dictionary};
use super::fields::Reader;
use super::products::MAIN_LOCATION;
use super::state::{Call, State};
use super::tenant::STOCK_LOCATIONS;
use serde_json::json;

/// `PUT /v2/offer`.
pub fn put(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let items = reader.objects(&body, "");
    let read = |item| Change {
        no: reader.required_text(item, "MerchantProductNo", 64),
        price: reader.decimal(item, "Price"),
        stock: reader
            .integer(item, "Stock")
            .map(|stock| (reader.integer(item, "StockLocationId"), stock))
            .into_iter()
            .collect(),
    };
    let changes = items.iter().map(read).collect::<Vec<_>>();
    apply(state, call, reader.finish(changes)?)
}

/// `PUT /v2/offer/stock`.
pub fn put_stock(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let items = reader.objects(&body, "");
    let read = |item| {
        let no = reader.required_text(item, "MerchantProductNo", 64);
        let lines = reader.lines(item, "StockLocations");
        let stock =
            lines.iter().map(|line| (reader.integer(line, "StockLocationId"), reader.required_integer(line, "Stock")));
        Change { no, price: None, stock: stock.collect() }
    };
    let changes = items.iter().map(read).collect::<Vec<_>>();
    apply(state, call, reader.finish(changes)?)
}

struct Change {
    no: String,
    price: Option<f64>,
    stock: Vec<(Option<i64>, i64)>,
}

fn apply(state: &mut State, call: &Call, changes: Vec<Change>) -> Outcome {
    let mut complaints = Vec::new();
    for change in changes {
        let errors = check(state, &change);
        if !errors.is_empty() {
            complaints.push((change.no, errors));
            continue;
        }
        if let Some(product) = state.products.get_mut(&change.no) {
            if let Some(price) = change.price {
                product.fields.insert("Price".to_owned(), json!(price));
            }
            for (location, pieces) in change.stock {
                product.set_stock(location.unwrap_or(MAIN_LOCATION), pieces, call.now);
            }
            product.changed();
        }
    }
    Reply::single(&dictionary(&complaints))
}

fn check(state: &State, change: &Change) -> Vec<String> {
    let mut errors = Vec::new();
    if !state.products.contains_key(&change.no) {
        errors.push(format!("Product '{}' was not found.", change.no));
    }
    if change.price.is_some_and(|price| price < 0.0) {
        errors.push("'Price' must be greater than or equal to '0'.".to_owned());
    }
    for (location, _) in &change.stock {
        if location.is_some_and(|id| !STOCK_LOCATIONS.iter().any(|location| location.id == id)) {
            errors.push(format!("The stock location '{}' was not found.", location.unwrap_or_default()));
        }
    }
    errors
}

/// `GET /v2/offer/stock`.
pub fn stock(state: &State, call: &Call) -> Outcome {
    let (page, size) = call.query.page_index()?;
    let mut rows = Vec::new();
    for product in state.products.values().filter(|product| call.query.admits("skus", &product.no)) {
        for (location, (pieces, updated)) in &product.stock {
            if call.query.admits("stocklocationids", &location.to_string()) {
                rows.push(json!({"MerchantProductNo": product.no, "StockLocationId": location, "Stock": pieces, "UpdatedAt": format!("{updated:.0}")}));
            }
        }
    }
    Ok(Reply::List(List::render(rows.iter(), page, size)))
}

#[cfg(test)]
mod tests {
    use super::super::products;
    use super::super::state::testing::{call, content, query};
    use super::*;
    use serde_json::Value;

    fn lamp() -> State {
        let mut state = State::default();
        content(products::create(
            &mut state,
            &call(&json!([{"MerchantProductNo": "A", "Name": "Lamp", "Price": 5, "Stock": 1}])),
        ));
        state
    }

    fn rows(state: &State, text: &str) -> Value {
        content(stock(state, &query(text)))
    }

    #[test]
    fn an_offer_sets_price_and_stock_and_tells_of_unknown_products() {
        let mut state = lamp();
        let body =
            json!([{"MerchantProductNo": "A", "Stock": 7, "Price": 6.5}, {"MerchantProductNo": "none", "Stock": 1}]);
        let told = content(put(&mut state, &call(&body)));
        assert_eq!(told, json!({"none": ["Product 'none' was not found."]}));
        assert!((state.products["A"].price() - 6.5).abs() < f64::EPSILON);
        assert_eq!(rows(&state, "skus=A")[0]["Stock"], 7);
    }

    #[test]
    fn stock_is_kept_by_location_and_summed_in_the_product() {
        let mut state = lamp();
        let places = json!([{"Stock": 2}, {"StockLocationId": 2, "Stock": 3}]);
        assert_eq!(
            content(put_stock(&mut state, &call(&json!([{"MerchantProductNo": "A", "StockLocations": places}])))),
            json!({})
        );
        assert_eq!(state.products["A"].fields["Stock"], 5);
        assert_eq!(rows(&state, "stockLocationIds=2")[0]["Stock"], 3);
    }

    #[test]
    fn a_price_below_nought_changes_nothing() {
        let mut state = lamp();
        let told = content(put(&mut state, &call(&json!([{"MerchantProductNo": "A", "Stock": 9, "Price": -1}]))));
        assert_eq!(told["A"].as_array().unwrap().len(), 1);
        assert_eq!(state.products["A"].fields["Stock"], 1);
    }
}
