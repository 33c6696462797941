//! Orders: what is kept of one, and its life from new to acknowledged to shipped or cancelled.

use super::envelope::{List, Outcome, Problem, Reply};
use super::fields::Reader;
use super::order_view;
use super::state::{Call, State};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Items on a page.
pub const PER_PAGE: usize = 100;

/// Where an order or a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not acknowledged yet.
    New,
    /// Acknowledged, something still to be shipped.
    InProgress,
    /// Nothing left to ship, and something was shipped.
    Shipped,
    /// Nothing left to ship, and nothing was shipped.
    Canceled,
}

impl Status {
    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::InProgress => "IN_PROGRESS",
            Self::Shipped => "SHIPPED",
            Self::Canceled => "CANCELED",
        }
    }
}

/// One order.
#[derive(Debug, Clone)]
pub struct Order {
    /// ChannelEngine's own id.
    pub id: i64,
    /// The channel that it came from.
    pub channel_id: i64,
    /// The channel's number.
    pub channel_order_no: String,
    /// The merchant's number, once acknowledged.
    pub merchant_order_no: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// When it was acknowledged.
    pub acknowledged: Option<Timestamp>,
    /// When it came in; also the order date.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// The merchant's comment.
    pub comment: Option<String>,
    /// Who ordered.
    pub customer: Customer,
    /// ISO 4217.
    pub currency: String,
    /// Including VAT.
    pub shipping_costs: f64,
    /// Whether it was made for testing.
    pub is_test: bool,
    /// Whether the marketplace ships it itself.
    pub by_marketplace: bool,
    /// What was ordered.
    pub lines: Vec<Line>,
    json: String,
}

/// Who ordered, and where it goes.
#[derive(Debug, Clone, Default)]
pub struct Customer {
    /// E-mail address; the API requires one.
    pub email: String,
    /// Phone number.
    pub phone: Option<String>,
    /// VAT number.
    pub vat_no: Option<String>,
    /// Chamber-of-commerce number.
    pub coc_no: Option<String>,
    /// The channel's number for the customer.
    pub channel_customer_no: Option<String>,
    /// The address for the invoice, field by field.
    pub billing: Map<String, Value>,
    /// The address for the parcel.
    pub shipping: Map<String, Value>,
}

/// One line of an order. `shipped + cancelled <= quantity` and `returned <= shipped` always hold.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// ChannelEngine's own id.
    pub id: i64,
    /// The merchant's product number.
    pub product_no: String,
    /// EAN.
    pub gtin: String,
    /// The product's name.
    pub description: String,
    /// Including VAT, for one piece.
    pub unit_price: f64,
    /// Pieces ordered.
    pub quantity: i64,
    /// Pieces shipped.
    pub shipped: i64,
    /// Pieces cancelled.
    pub cancelled: i64,
    /// Pieces announced as coming back.
    pub returned: i64,
    /// Whether the marketplace ships it itself.
    pub by_marketplace: bool,
}

impl Line {
    /// Pieces neither shipped nor cancelled.
    pub fn open(&self) -> i64 {
        self.quantity - self.shipped - self.cancelled
    }
}

/// What a new order is made of.
#[derive(Debug)]
pub struct NewOrder {
    /// The channel that it came from.
    pub channel_id: i64,
    /// The channel's number.
    pub channel_order_no: String,
    /// Who ordered.
    pub customer: Customer,
    /// ISO 4217.
    pub currency: String,
    /// Including VAT.
    pub shipping_costs: f64,
    /// Whether it was made for testing.
    pub is_test: bool,
    /// Whether the marketplace ships it itself; then it is shipped from the start.
    pub by_marketplace: bool,
    /// What was ordered; ids are given here.
    pub lines: Vec<Line>,
}

/// Puts a new order into the state; its id.
pub fn add(state: &mut State, new: NewOrder, now: Timestamp) -> i64 {
    let id = state.next_id();
    let mut lines = new.lines;
    for line in &mut lines {
        line.id = state.next_id();
        line.by_marketplace = new.by_marketplace;
        line.shipped = if new.by_marketplace { line.quantity } else { 0 };
    }
    let mut order = Order {
        id,
        channel_id: new.channel_id,
        channel_order_no: new.channel_order_no,
        merchant_order_no: None,
        status: if new.by_marketplace { Status::Shipped } else { Status::New },
        acknowledged: None,
        created: now,
        updated: now,
        comment: None,
        customer: new.customer,
        currency: new.currency,
        shipping_costs: new.shipping_costs,
        is_test: new.is_test,
        by_marketplace: new.by_marketplace,
        lines,
        json: String::new(),
    };
    order.changed(now);
    state.orders.insert(id, order);
    id
}

impl Order {
    /// Settles the status and renders anew; to be called after every change.
    pub fn changed(&mut self, now: Timestamp) {
        self.updated = now;
        if self.status == Status::InProgress && self.lines.iter().all(|line| line.open() == 0) {
            let shipped = self.lines.iter().any(|line| line.shipped > 0);
            self.status = if shipped { Status::Shipped } else { Status::Canceled };
        }
        self.json = order_view::order(self).to_string();
    }

    /// As the API shows it.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The merchant's number, empty before the order is acknowledged.
    pub fn merchant_no(&self) -> &str {
        self.merchant_order_no.as_deref().unwrap_or_default()
    }

    /// The place of the line that holds a product.
    pub fn line_at(&self, product_no: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.product_no == product_no)
    }
}

/// `GET /v2/orders/new`: no paging; what is not acknowledged stays in front.
pub fn new(state: &State, _: &Call) -> Outcome {
    let fresh = state.orders.values().filter(|order| order.status == Status::New);
    Ok(Reply::List(List::page(fresh.map(Order::json), 0, PER_PAGE)))
}

/// `GET /v2/orders`.
pub fn list(state: &State, call: &Call) -> Outcome {
    let mut found = Vec::new();
    for order in state.orders.values() {
        if matches(order, call)? {
            found.push(order.json());
        }
    }
    Ok(Reply::List(List::page(found.into_iter(), call.query.page()?, PER_PAGE)))
}

fn matches(order: &Order, call: &Call) -> Result<bool, Problem> {
    let query = &call.query;
    let by_word = query.admits("statuses", order.status.word())
        && query.admits("emailaddresses", &order.customer.email)
        && query.admits("merchantordernos", order.merchant_no())
        && query.admits("channelordernos", &order.channel_order_no)
        && query.admits("commercialordernos", &order.channel_order_no)
        && query.admits("channelids", &order.channel_id.to_string())
        && query.flag("isacknowledged")?.is_none_or(|wanted| wanted == order.acknowledged.is_some())
        && query.flag("excludemarketplacefulfilledordersandlines")?.is_none_or(|hide| !(hide && order.by_marketplace));
    let created = Some(order.created);
    Ok(by_word
        && fulfillment(order, query.one("fulfillmenttype"))
        && query.within("fromdate", "todate", created)?
        && query.within("fromcreatedatdate", "tocreatedatdate", created)?
        && query.within("fromupdatedatdate", "toupdatedatdate", Some(order.updated))?
        && query.within("fromacknowledgeddate", "toacknowledgeddate", order.acknowledged)?)
}

fn fulfillment(order: &Order, wanted: Option<&str>) -> bool {
    match wanted.map(str::to_ascii_uppercase).as_deref() {
        Some("ONLY_MERCHANT" | "INCLUDES_MERCHANT") => !order.by_marketplace,
        Some("ONLY_CHANNEL" | "INCLUDES_CHANNEL") => order.by_marketplace,
        Some("MIXED") => false,
        _ => true,
    }
}

/// `POST /v2/orders/acknowledge`: ties an order to the merchant's number, once.
pub fn acknowledge(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let merchant_no = reader.required_text(&request, "MerchantOrderNo", 50);
    let id = reader.required_integer(&request, "OrderId");
    reader.finish(())?;
    let order = state.orders.get_mut(&id).ok_or_else(|| Problem::missing("Order", id))?;
    if order.acknowledged.is_some() {
        return Err(Problem::conflict(format!("Order '{id}' is already acknowledged.")));
    }
    if state.merchant_order_nos.contains_key(&merchant_no) {
        return Err(Problem::conflict(format!("The merchant order number '{merchant_no}' is already in use.")));
    }
    order.acknowledged = Some(call.now);
    order.merchant_order_no = Some(merchant_no.clone());
    if order.status == Status::New {
        order.status = Status::InProgress;
    }
    order.changed(call.now);
    state.merchant_order_nos.insert(merchant_no, id);
    Ok(Reply::Done(StatusCode::CREATED))
}

/// `PUT /v2/orders/comment`, by either number.
pub fn comment(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let merchant_no = reader.text(&request, "MerchantOrderNo", 50);
    let id = reader.integer(&request, "OrderId");
    let comment = reader.required_text(&request, "MerchantComment", usize::MAX);
    reader.finish(())?;
    let order = match (id, merchant_no) {
        (Some(id), _) => state.orders.get_mut(&id).ok_or_else(|| Problem::missing("Order", id))?,
        (None, Some(merchant_no)) => state.order_mut(&merchant_no)?,
        (None, None) => {
            return Err(Problem::invalid_field("OrderId", "'OrderId' or 'MerchantOrderNo' must not be empty."));
        }
    };
    order.comment = Some(comment);
    order.changed(call.now);
    Ok(Reply::Done(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::super::state::testing::{call, content, query};
    use super::*;
    use serde_json::json;

    fn with_order(by_marketplace: bool) -> (State, i64) {
        let mut state = State::default();
        let line = Line { product_no: "A".to_owned(), quantity: 2, unit_price: 10.0, ..Line::default() };
        let customer = Customer { email: "ann@example.com".to_owned(), ..Customer::default() };
        let new = NewOrder {
            channel_id: 1,
            channel_order_no: "CE-TEST-1".to_owned(),
            customer,
            currency: "EUR".to_owned(),
            shipping_costs: 0.0,
            is_test: true,
            by_marketplace,
            lines: vec![line],
        };
        let id = add(&mut state, new, Timestamp::UNIX_EPOCH);
        (state, id)
    }

    fn count(outcome: Outcome) -> usize {
        content(outcome).as_array().unwrap().len()
    }

    #[test]
    fn an_acknowledged_order_leaves_the_new_list() {
        let (mut state, id) = with_order(false);
        assert_eq!(content(new(&state, &query("")))[0]["Status"], "NEW");
        assert!(matches!(
            acknowledge(&mut state, &call(&json!({"OrderId": id, "MerchantOrderNo": "M-1"}))),
            Ok(Reply::Done(StatusCode::CREATED))
        ));
        assert_eq!(count(new(&state, &query(""))), 0);
        assert_eq!(content(list(&state, &query("statuses=IN_PROGRESS")))[0]["MerchantOrderNo"], "M-1");
    }

    #[test]
    fn a_second_acknowledgement_is_a_conflict_and_so_is_a_number_in_use() {
        let (mut state, id) = with_order(false);
        let first = call(&json!({"OrderId": id, "MerchantOrderNo": "M-1"}));
        assert!(acknowledge(&mut state, &first).is_ok());
        assert_eq!(acknowledge(&mut state, &first).unwrap_err().status, 409);
        assert_eq!(
            acknowledge(&mut state, &call(&json!({"OrderId": 999, "MerchantOrderNo": "M-2"}))).unwrap_err().status,
            404
        );
    }

    #[test]
    fn an_order_that_the_marketplace_ships_is_never_new() {
        let (state, _) = with_order(true);
        assert_eq!(count(new(&state, &query(""))), 0);
        assert_eq!(content(list(&state, &query("")))[0]["Status"], "SHIPPED");
        assert_eq!(count(list(&state, &query("excludeMarketplaceFulfilledOrdersAndLines=true"))), 0);
        assert_eq!(count(list(&state, &query("fulfillmentType=ONLY_CHANNEL"))), 1);
    }

    #[test]
    fn orders_are_found_by_mail_status_and_date() {
        let (state, _) = with_order(false);
        assert_eq!(count(list(&state, &query("emailAddresses=ANN@example.com&statuses=NEW&statuses=CLOSED"))), 1);
        assert_eq!(count(list(&state, &query("emailAddresses=bob@example.com"))), 0);
        assert_eq!(count(list(&state, &query("fromDate=1970-01-02&isAcknowledged=false"))), 0);
        assert_eq!(list(&state, &query("toDate=tomorrow")).unwrap_err().status, 400);
    }

    #[test]
    fn a_comment_is_set_by_either_number() {
        let (mut state, id) = with_order(false);
        assert!(comment(&mut state, &call(&json!({"OrderId": id, "MerchantComment": "gift"}))).is_ok());
        assert_eq!(content(list(&state, &query("")))[0]["MerchantComment"], "gift");
        assert_eq!(
            comment(&mut state, &call(&json!({"MerchantOrderNo": "no", "MerchantComment": "x"}))).unwrap_err().status,
            404
        );
        assert_eq!(comment(&mut state, &call(&json!({"MerchantComment": "x"}))).unwrap_err().status, 400);
    }
}
