//! `POST /v2/supportorder`: makes test orders, the first step of the order part of the standard test flow.

use super::envelope::{Outcome, Problem, Reply};
use super::fields::{Object, Reader};
use super::order_view::address;
use super::orders::{self, Customer, Line, NewOrder};
use super::products::Product;
use super::state::{Call, State};
use super::tenant;
use http::StatusCode;
use serde_json::Value;

/// The most orders that one call may make.
const MAX_COPIES: i64 = 100;

/// `{NumberOfOrdersCopies, Order: {ChannelId, CurrencyCode, IsFulfillmentByMarketplace, Lines: [{MerchantProductNo, Quantity}], …}}`.
///
/// A line may name its product by `EAN` too, and the order may stand without the outer object.
pub fn create(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let outer = reader.object(&body, "");
    let copies = reader.integer(&outer, "NumberOfOrdersCopies").unwrap_or(1);
    if !(1..=MAX_COPIES).contains(&copies) {
        reader.complain(
            "NumberOfOrdersCopies",
            format!("'NumberOfOrdersCopies' must be between '1' and '{MAX_COPIES}'."),
        );
    }
    let order = outer.get("Order").map(|order| reader.object(order, "Order.")).unwrap_or(outer);
    let lines = lines(state, &mut reader, &order);
    let customer = customer(&mut reader, &order);
    let currency = reader.required_text(&order, "CurrencyCode", 3);
    let channel_id = channel(&mut reader, &order);
    let shipping_costs = reader.decimal(&order, "ShippingCostsInclVat").unwrap_or(0.0);
    let by_marketplace = reader.flag(&order, "IsFulfillmentByMarketplace");
    let wanted_no = reader.text(&order, "ChannelOrderNo", 50);
    reader.finish(())?;
    for copy in 0..copies {
        let channel_order_no = number(state, wanted_no.as_deref(), copy)?;
        let (customer, currency, lines) = (customer.clone(), currency.clone(), lines.clone());
        let new = NewOrder {
            channel_id,
            channel_order_no,
            customer,
            currency,
            shipping_costs,
            is_test: true,
            by_marketplace,
            lines,
        };
        orders::add(state, new, call.now);
    }
    Ok(Reply::Done(StatusCode::OK))
}

/// `CE-TEST-…`, or the number that the call wants, which must be new.
fn number(state: &mut State, wanted: Option<&str>, copy: i64) -> Result<String, Problem> {
    let Some(wanted) = wanted else { return Ok(format!("CE-TEST-{}", 100_000 + state.next_id())) };
    let number = if copy == 0 { wanted.to_owned() } else { format!("{wanted}-{copy}") };
    if state.orders.values().any(|order| order.channel_order_no == number) {
        return Err(Problem::conflict(format!("The channel order number '{number}' is already in use.")));
    }
    Ok(number)
}

fn channel(reader: &mut Reader, order: &Object) -> i64 {
    let id = reader.required_integer(order, "ChannelId");
    if order.get("ChannelId").is_some() && !tenant::CHANNELS.iter().any(|channel| channel.id == id) {
        reader.complain(order.path("ChannelId"), format!("The channel '{id}' was not found."));
    }
    id
}

fn lines(state: &State, reader: &mut Reader, order: &Object) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for item in reader.lines(order, "Lines") {
        let no = reader.text(&item, "MerchantProductNo", 64);
        let ean = reader.text(&item, "EAN", 64);
        let quantity = reader.quantity(&item, "Quantity");
        match product(state, no.as_deref(), ean.as_deref()) {
            // A shipment names lines by product, so one product is one line.
            Some(product) if lines.iter().any(|line| line.product_no == product.no) => {
                reader.complain(
                    item.path("MerchantProductNo"),
                    format!("The product '{}' is named more than once.", product.no),
                );
            }
            Some(product) => lines.push(line(product, quantity)),
            None => reader.complain(item.path("MerchantProductNo"), "The product was not found."),
        }
    }
    lines
}

fn product<'a>(state: &'a State, no: Option<&str>, ean: Option<&str>) -> Option<&'a Product> {
    match (no, ean) {
        (Some(no), _) => state.products.get(no),
        (None, Some(ean)) => state.products.values().find(|product| product.text("Ean") == ean),
        (None, None) => None,
    }
}

/// A line for so many pieces of a product.
pub fn line(product: &Product, quantity: i64) -> Line {
    Line {
        product_no: product.no.clone(),
        gtin: product.text("Ean").to_owned(),
        description: product.text("Name").to_owned(),
        unit_price: product.price(),
        quantity,
        ..Line::default()
    }
}

fn customer(reader: &mut Reader, order: &Object) -> Customer {
    let billing = order.get("BillingAddress").map(|value| reader.object(value, &order.path("BillingAddress.")));
    let shipping = order.get("ShippingAddress").map(|value| reader.object(value, &order.path("ShippingAddress.")));
    let shown = |object: Option<&Object>| address(|name| read(object, name).or_else(|| tester(name)));
    Customer {
        email: reader.text(order, "Email", 250).unwrap_or_else(|| "test.order@example.com".to_owned()),
        phone: reader.text(order, "Phone", 50),
        vat_no: reader.text(order, "VatNo", 50),
        coc_no: reader.text(order, "CocNo", 50),
        channel_customer_no: reader.text(order, "ChannelCustomerNo", 50),
        billing: shown(billing.as_ref().or(shipping.as_ref())),
        shipping: shown(shipping.as_ref().or(billing.as_ref())),
    }
}

fn read(object: Option<&Object>, name: &str) -> Option<String> {
    object?.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// What an order without an address gets.
fn tester(name: &str) -> Option<String> {
    let value = match name {
        "FirstName" => "Test",
        "LastName" => "Order",
        "StreetName" => "Langegracht",
        "HouseNr" => "1",
        "ZipCode" => "2312 NW",
        "City" => "Leiden",
        "CountryIso" => "NL",
        _ => return None,
    };
    Some(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::products;
    use super::super::state::testing::{call, content, query};
    use super::*;
    use serde_json::json;

    fn lamp() -> State {
        let mut state = State::default();
        let item = json!({"MerchantProductNo": "A", "Name": "Lamp", "Price": 12.1, "Ean": "4006381333931"});
        content(products::create(&mut state, &call(&json!([item]))));
        state
    }

    fn order(line: &Value) -> Value {
        json!({"ChannelId": 1, "CurrencyCode": "EUR", "Lines": [line]})
    }

    #[test]
    fn copies_become_new_orders_with_test_numbers() {
        let mut state = lamp();
        let body =
            json!({"NumberOfOrdersCopies": 2, "Order": order(&json!({"MerchantProductNo": "A", "Quantity": 2}))});
        assert!(create(&mut state, &call(&body)).is_ok());
        let shown = content(orders::new(&state, &query("")));
        assert_eq!(shown.as_array().unwrap().len(), 2);
        assert!(shown[0]["ChannelOrderNo"].as_str().unwrap().starts_with("CE-TEST-"));
        assert_eq!(
            (&shown[0]["TotalInclVat"], &shown[0]["TotalVat"], &shown[0]["IsTest"]),
            (&json!(24.2), &json!(4.2), &json!(true))
        );
    }

    #[test]
    fn a_line_may_name_its_product_by_ean_and_the_order_may_stand_alone() {
        let mut state = lamp();
        assert!(create(&mut state, &call(&order(&json!({"Ean": "4006381333931", "Quantity": 1})))).is_ok());
        assert_eq!(content(orders::new(&state, &query("")))[0]["Lines"][0]["MerchantProductNo"], "A");
    }

    #[test]
    fn unknown_products_and_channels_are_refused_together() {
        let mut body = order(&json!({"MerchantProductNo": "none", "Quantity": 0}));
        body["ChannelId"] = json!(99);
        let problem = create(&mut lamp(), &call(&body)).unwrap_err();
        assert_eq!(problem.validation.len(), 3);
    }
}
