//! All that the stand-in remembers, and what an endpoint is given.

use super::cancellations::Cancellation;
use super::envelope::Problem;
use super::fields;
use super::orders::Order;
use super::products::Product;
use super::returns::Return;
use super::shipments::Shipment;
use super::target::Query;
use super::webhooks::Webhook;
use bytes::Bytes;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// The tenant's data. Everything else is derived from it.
#[derive(Debug, Default)]
pub struct State {
    /// By merchant product number.
    pub products: BTreeMap<String, Product>,
    /// By ChannelEngine's own id.
    pub orders: BTreeMap<i64, Order>,
    /// Merchant order number → order id, for acknowledged orders.
    pub merchant_order_nos: HashMap<String, i64>,
    /// In order of arrival.
    pub shipments: Vec<Shipment>,
    /// In order of arrival.
    pub cancellations: Vec<Cancellation>,
    /// By id.
    pub returns: BTreeMap<i64, Return>,
    /// In order of arrival.
    pub webhooks: Vec<Webhook>,
    last_id: i64,
}

impl State {
    /// A number that nothing else has; counts from 1.
    pub fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    /// The order with a merchant order number.
    pub fn order(&self, merchant_order_no: &str) -> Result<&Order, Problem> {
        let id = self.merchant_order_nos.get(merchant_order_no);
        id.and_then(|id| self.orders.get(id)).ok_or_else(|| no_order(merchant_order_no))
    }

    /// The same, to change it; call [`Order::changed`] afterwards.
    pub fn order_mut(&mut self, merchant_order_no: &str) -> Result<&mut Order, Problem> {
        let id = self.merchant_order_nos.get(merchant_order_no).copied();
        id.and_then(|id| self.orders.get_mut(&id)).ok_or_else(|| no_order(merchant_order_no))
    }
}

fn no_order(merchant_order_no: &str) -> Problem {
    Problem::missing("Order with merchant order number", merchant_order_no)
}

/// A call that has passed the key, the rate limit and the routing.
#[derive(Debug)]
pub struct Call {
    /// Values of the template's parameters, in order, decoded.
    pub params: Vec<String>,
    /// The query.
    pub query: Query,
    /// The whole body.
    pub body: Bytes,
    /// When it came.
    pub now: Timestamp,
}

impl Call {
    /// The template's parameter number `at`.
    pub fn param(&self, at: usize) -> &str {
        self.params.get(at).map_or("", String::as_str)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value, Problem> {
        fields::parse(&self.body)
    }
}

/// Ways to make a call in tests of the endpoints.
#[cfg(test)]
pub mod testing {
    use super::{Call, Query};
    use jiff::Timestamp;

    /// A call with a body.
    pub fn call(body: &serde_json::Value) -> Call {
        Call { params: Vec::new(), query: Query::default(), body: body.to_string().into(), now: Timestamp::UNIX_EPOCH }
    }

    /// A call with a query.
    pub fn query(text: &str) -> Call {
        Call { query: Query::parse(text), ..call(&serde_json::Value::Null) }
    }

    /// A call with one path parameter.
    pub fn param(value: &str, body: &serde_json::Value) -> Call {
        Call { params: vec![value.to_owned()], ..call(body) }
    }

    /// The items of a list, or the single content.
    pub fn content(outcome: super::super::envelope::Outcome) -> serde_json::Value {
        use super::super::envelope::Reply;
        match outcome.expect("a success") {
            Reply::Single(text) => serde_json::from_str(&text).unwrap(),
            Reply::List(list) => serde_json::from_str(&format!("[{}]", list.items)).unwrap(),
            other => panic!("no content: {other:?}"),
        }
    }
}
