//! What the tenant holds at the start: products, orders of fictional people, two returns to handle.

use super::order_view::address;
use super::orders::{self, Customer, Line, NewOrder, Status};
use super::products::{MAIN_LOCATION, Product};
use super::returns::{Return, ReturnLine};
use super::state::State;
use super::test_orders::line;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};

/// Number, name, brand, category, first twelve digits of the EAN, price, pieces.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, f64, i64);

const PRODUCTS: [Row; 25] = [
    ("LAMP-001", "Desk lamp Noor", "Lichthuis", "Home > Lighting", "871234560001", 34.95, 120),
    ("LAMP-002", "Floor lamp Noor", "Lichthuis", "Home > Lighting", "871234560002", 89.95, 40),
    ("LAMP-003", "Bedside lamp Maan", "Lichthuis", "Home > Lighting", "871234560003", 24.5, 75),
    ("MUG-001", "Mug Tij, white", "Kleiwerk", "Kitchen > Mugs", "871234560004", 9.95, 400),
    ("MUG-002", "Mug Tij, blue", "Kleiwerk", "Kitchen > Mugs", "871234560005", 9.95, 380),
    ("MUG-003", "Espresso cup Tij", "Kleiwerk", "Kitchen > Mugs", "871234560006", 7.5, 250),
    ("BOWL-001", "Bowl Duin, large", "Kleiwerk", "Kitchen > Bowls", "871234560007", 27.0, 60),
    ("BOWL-002", "Bowl Duin, small", "Kleiwerk", "Kitchen > Bowls", "871234560008", 14.0, 95),
    ("PAN-001", "Frying pan 24 cm", "Vonk", "Kitchen > Pans", "871234560009", 44.95, 55),
    ("PAN-002", "Frying pan 28 cm", "Vonk", "Kitchen > Pans", "871234560010", 52.95, 48),
    ("PAN-003", "Sauce pan 16 cm", "Vonk", "Kitchen > Pans", "871234560011", 39.95, 31),
    ("TOWEL-001", "Bath towel Mos", "Weefgoed", "Bath > Towels", "871234560012", 19.95, 210),
    ("TOWEL-002", "Hand towel Mos", "Weefgoed", "Bath > Towels", "871234560013", 11.95, 260),
    ("QUILT-001", "Quilt Winter 140 x 200", "Weefgoed", "Bedroom > Quilts", "871234560014", 79.0, 35),
    ("QUILT-002", "Quilt Winter 240 x 220", "Weefgoed", "Bedroom > Quilts", "871234560015", 129.0, 18),
    ("CLOCK-001", "Wall clock Uur", "Lichthuis", "Home > Clocks", "871234560016", 49.0, 42),
    ("VASE-001", "Vase Riet, tall", "Kleiwerk", "Home > Vases", "871234560017", 32.5, 50),
    ("VASE-002", "Vase Riet, low", "Kleiwerk", "Home > Vases", "871234560018", 22.5, 64),
    ("CHAIR-001", "Folding chair Kade", "Houtvast", "Garden > Chairs", "871234560019", 59.95, 80),
    ("TABLE-001", "Side table Kade", "Houtvast", "Garden > Tables", "871234560020", 74.95, 26),
    ("BOARD-001", "Cutting board, oak", "Houtvast", "Kitchen > Boards", "871234560021", 29.95, 140),
    ("SPOON-001", "Wooden spoons, set of 3", "Houtvast", "Kitchen > Tools", "871234560022", 12.95, 300),
    ("BAG-001", "Canvas bag Markt", "Weefgoed", "Bags", "871234560023", 16.5, 500),
    ("CANDLE-001", "Beeswax candle", "Lichthuis", "Home > Candles", "871234560024", 6.95, 900),
    ("RUG-001", "Rug Wad 170 x 240", "Weefgoed", "Home > Rugs", "871234560025", 199.0, 9),
];

/// First name, last name, street, house number, post code, city, country, e-mail, phone.
type Person = [&'static str; 9];

const PEOPLE: [Person; 6] = [
    [
        "Marieke",
        "Verbruggen",
        "Hooglandse Kerkgracht",
        "17",
        "2312 HS",
        "Leiden",
        "NL",
        "marieke.verbruggen@example.com",
        "+31 6 00000101",
    ],
    [
        "Jonas",
        "Lindqvist",
        "Rosenstraße",
        "4",
        "20095",
        "Hamburg",
        "DE",
        "jonas.lindqvist@example.com",
        "+49 40 0000102",
    ],
    [
        "Fatima",
        "El Amrani",
        "Lange Leemstraat",
        "88",
        "2018",
        "Antwerpen",
        "BE",
        "fatima.elamrani@example.com",
        "+32 3 0000103",
    ],
    [
        "Pieter",
        "Oosterwijk",
        "Oude Singel",
        "203",
        "2312 RG",
        "Leiden",
        "NL",
        "pieter.oosterwijk@example.com",
        "+31 6 00000104",
    ],
    [
        "Chloé",
        "Dubreuil",
        "Rue des Tanneurs",
        "31",
        "1000",
        "Brussel",
        "BE",
        "chloe.dubreuil@example.com",
        "+32 2 0000105",
    ],
    [
        "Anneliese",
        "Kowalczyk",
        "Lindenallee",
        "9",
        "50668",
        "Köln",
        "DE",
        "anneliese.kowalczyk@example.com",
        "+49 221 0000106",
    ],
];

/// A tenant that has been trading for a while.
pub fn tenant(now: Timestamp) -> State {
    let mut state = State::default();
    for row in &PRODUCTS {
        let product = product(row, now);
        state.products.insert(product.no.clone(), product);
    }
    let baskets: [&[(&str, i64)]; 6] = [
        &[("LAMP-001", 1), ("MUG-002", 4)],
        &[("PAN-002", 1)],
        &[("TOWEL-001", 2), ("TOWEL-002", 4), ("CANDLE-001", 6)],
        &[("CHAIR-001", 4), ("TABLE-001", 1)],
        &[("VASE-001", 1), ("BOWL-002", 3)],
        &[("RUG-001", 1)],
    ];
    for (at, (person, basket)) in PEOPLE.iter().zip(baskets).enumerate() {
        order(&mut state, at, person, basket, now);
    }
    // The last three have run their course: two shipped with something coming back, one by the marketplace.
    let ids: Vec<i64> = state.orders.keys().copied().collect();
    for (at, comment) in [(3, "Arrived with a cracked leg."), (4, "Ordered twice by mistake.")] {
        shipped_and_coming_back(&mut state, ids[at], comment, now);
    }
    state
}

fn product(row: &Row, now: Timestamp) -> Product {
    let (no, name, brand, category, digits, price, pieces) = *row;
    let mut product = Product::new(no);
    let ean = (0..10).map(|check| format!("{digits}{check}")).find(|ean| super::products::valid_ean(ean));
    let image = format!("https://images.example.com/{}.jpg", no.to_ascii_lowercase());
    let url = format!("https://shop.example.com/{}", no.to_ascii_lowercase());
    let values = json!({
        "Name": name, "Brand": brand, "CategoryTrail": category, "Ean": ean, "Price": price, "MSRP": price,
        "Description": format!("{name} by {brand}."), "ManufacturerProductNumber": no.replace('-', ""),
        "ImageUrl": image, "Url": url, "ShippingTime": "1-2 days", "ShippingCost": 4.95,
    });
    product.fields.extend(values.as_object().cloned().unwrap_or_default());
    product.set_stock(MAIN_LOCATION, pieces, now);
    product.changed();
    product
}

fn order(state: &mut State, at: usize, person: &Person, basket: &[(&str, i64)], now: Timestamp) -> i64 {
    let number = i64::try_from(at).unwrap_or_default();
    let lines: Vec<Line> =
        basket.iter().filter_map(|(no, pieces)| Some(line(state.products.get(*no)?, *pieces))).collect();
    let channel_id = match person[6] {
        "DE" => 2,
        "BE" => 3,
        _ => 1,
    };
    let new = NewOrder {
        channel_id,
        channel_order_no: format!("C-{}", 70_412 + number * 37),
        customer: customer(person),
        currency: "EUR".to_owned(),
        shipping_costs: 4.95,
        is_test: false,
        by_marketplace: at == 5,
        lines,
    };
    let came = now - SignedDuration::from_mins(25 * (7 - number));
    orders::add(state, new, came)
}

fn customer(person: &Person) -> Customer {
    let [first, last, street, house, post_code, city, country, email, phone] = person.map(str::to_owned);
    let home = address(|name| match name {
        "FirstName" => Some(first.clone()),
        "LastName" => Some(last.clone()),
        "StreetName" => Some(street.clone()),
        "HouseNr" => Some(house.clone()),
        "ZipCode" => Some(post_code.clone()),
        "City" => Some(city.clone()),
        "CountryIso" => Some(country.clone()),
        _ => None,
    });
    let channel_customer_no = Some(format!("CUST-{}", post_code.replace(' ', "")));
    Customer {
        email,
        phone: Some(phone),
        channel_customer_no,
        billing: home.clone(),
        shipping: home,
        ..Customer::default()
    }
}

fn shipped_and_coming_back(state: &mut State, order_id: i64, comment: &str, now: Timestamp) {
    let merchant_no = format!("M-{}", 5_000 + order_id);
    let Some(order) = state.orders.get_mut(&order_id) else { return };
    order.merchant_order_no = Some(merchant_no.clone());
    order.acknowledged = Some(order.created);
    order.status = Status::InProgress;
    order.lines.iter_mut().for_each(|line| line.shipped = line.quantity);
    let Some(first) = order.lines.first_mut() else { return };
    first.returned = 1;
    let (product_no, refund) = (first.product_no.clone(), first.unit_price);
    order.changed(now);
    state.merchant_order_nos.insert(merchant_no, order_id);
    let id = state.next_id();
    let announced = Return {
        id,
        order_id,
        merchant_no: None,
        channel_no: Some(format!("R-{}", 900 + id)),
        lines: vec![ReturnLine { product_no, quantity: 1, result: None }],
        received: false,
        reason: "PRODUCT_UNSATISFACTORY",
        customer_comment: Some(comment.to_owned()),
        merchant_comment: None,
        refund,
        extra: Map::new(),
        acknowledged: None,
        created: now,
        updated: now,
    };
    state.returns.insert(id, announced);
}

/// States for tests of the endpoints.
#[cfg(test)]
pub mod testing {
    use super::super::state::testing::call;
    use super::{Line, Map, NewOrder, Product, State, Timestamp, json, orders};

    /// One acknowledged order with these products and pieces.
    pub fn acknowledged(merchant_no: &str, basket: &[(&str, i64)]) -> State {
        let mut state = State::default();
        let mut lines = Vec::new();
        for (no, pieces) in basket {
            state.products.insert((*no).to_owned(), Product::new(no));
            lines.push(Line { product_no: (*no).to_owned(), quantity: *pieces, unit_price: 10.0, ..Line::default() });
        }
        let customer = orders::Customer { billing: Map::new(), ..orders::Customer::default() };
        let channel_order_no = "CE-TEST-1".to_owned();
        let currency = "EUR".to_owned();
        let new = NewOrder {
            channel_id: 1,
            channel_order_no,
            customer,
            currency,
            shipping_costs: 0.0,
            is_test: true,
            by_marketplace: false,
            lines,
        };
        let id = orders::add(&mut state, new, Timestamp::UNIX_EPOCH);
        orders::acknowledge(&mut state, &call(&json!({"OrderId": id, "MerchantOrderNo": merchant_no}))).unwrap();
        state
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::testing::{call, content, query};
    use super::super::{products, returns};
    use super::*;

    #[test]
    fn the_tenant_has_products_new_orders_and_returns_to_handle() {
        let state = tenant(Timestamp::UNIX_EPOCH);
        assert_eq!(content(products::list(&state, &query(""))).as_array().unwrap().len(), 25);
        assert_eq!(content(orders::new(&state, &query(""))).as_array().unwrap().len(), 3);
        assert_eq!(content(returns::unhandled(&state, &query(""))).as_array().unwrap().len(), 2);
        assert!(state.products.values().all(|product| super::super::products::valid_ean(product.text("Ean"))));
    }

    #[test]
    fn every_address_for_mail_is_reserved_for_examples() {
        let state = tenant(Timestamp::UNIX_EPOCH);
        assert!(state.orders.values().all(|order| order.customer.email.ends_with("@example.com")));
    }

    #[test]
    fn a_return_is_acknowledged_once_and_received_once() {
        let mut state = tenant(Timestamp::UNIX_EPOCH);
        let id = *state.returns.keys().next().unwrap();
        let tie = call(&json!({"ReturnId": id, "MerchantReturnNo": "MR-1"}));
        assert!(returns::acknowledge(&mut state, &tie).is_ok());
        assert_eq!(returns::acknowledge(&mut state, &tie).unwrap_err().status, 409);
        let receive = |accepted: i64| {
            call(
                &json!({"ReturnId": id, "Lines": [{"MerchantProductNo": "CHAIR-001", "AcceptedQuantity": accepted, "RejectedQuantity": 0}]}),
            )
        };
        assert_eq!(returns::receive(&mut state, &receive(2)).unwrap_err().status, 400);
        assert!(returns::receive(&mut state, &receive(1)).is_ok());
        assert_eq!(returns::receive(&mut state, &receive(1)).unwrap_err().status, 409);
        assert_eq!(content(returns::unhandled(&state, &query(""))).as_array().unwrap().len(), 1);
    }

    #[test]
    fn no_more_comes_back_than_was_shipped() {
        let mut state = testing::acknowledged("M-1", &[("A", 2)]);
        let back = |no: &str, pieces: i64| {
            call(
                &json!({"MerchantReturnNo": no, "MerchantOrderNo": "M-1", "Lines": [{"MerchantProductNo": "A", "Quantity": pieces}]}),
            )
        };
        assert_eq!(returns::declare(&mut state, &back("R-1", 1)).unwrap_err().status, 400);
        let ship = call(
            &json!({"MerchantShipmentNo": "S-1", "MerchantOrderNo": "M-1", "Lines": [{"MerchantProductNo": "A", "Quantity": 2}]}),
        );
        assert!(super::super::shipments::create(&mut state, &ship).is_ok());
        assert!(returns::declare(&mut state, &back("R-1", 1)).is_ok());
        assert_eq!(returns::declare(&mut state, &back("R-1", 1)).unwrap_err().status, 409);
        assert_eq!(returns::declare(&mut state, &back("R-2", 2)).unwrap_err().status, 400);
        assert_eq!(
            content(returns::list(&state, &query("creatorType=ONLY_FROM_MERCHANT")))[0]["MerchantReturnNo"],
            "R-1"
        );
        assert_eq!(content(returns::unhandled(&state, &query(""))).as_array().unwrap().len(), 0);
    }
}
