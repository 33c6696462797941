//! Returns: announced by the marketplace or by the merchant, acknowledged, then accepted or rejected once.

use super::envelope::{List, Outcome, Problem, Reply};
use super::fields::Reader;
use super::order_view::{line as line_view, moment};
use super::orders::Order;
use super::shipments::{take_pieces, wanted_lines};
use super::state::{Call, State};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const REASONS: [&str; 10] = [
    "PRODUCT_DEFECT",
    "PRODUCT_UNSATISFACTORY",
    "WRONG_PRODUCT",
    "TOO_MANY_PRODUCTS",
    "REFUSED",
    "REFUSED_DAMAGED",
    "WRONG_ADDRESS",
    "NOT_COLLECTED",
    "WRONG_SIZE",
    "OTHER",
];

/// One return.
#[derive(Debug)]
pub struct Return {
    /// ChannelEngine's own id.
    pub id: i64,
    /// The order that it belongs to; 0 never occurs.
    pub order_id: i64,
    /// The merchant's number, once known.
    pub merchant_no: Option<String>,
    /// The channel's number, when the marketplace announced it.
    pub channel_no: Option<String>,
    /// What comes back.
    pub lines: Vec<ReturnLine>,
    /// Whether it was handled: `RECEIVED`, else `IN_PROGRESS`.
    pub received: bool,
    /// Why, in the API's words.
    pub reason: &'static str,
    /// What the customer says.
    pub customer_comment: Option<String>,
    /// What the merchant says.
    pub merchant_comment: Option<String>,
    /// Money back, including VAT.
    pub refund: f64,
    /// Free data of the merchant.
    pub extra: Map<String, Value>,
    /// When the merchant acknowledged it.
    pub acknowledged: Option<Timestamp>,
    /// When it was announced.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
}

/// Pieces of one product that come back.
#[derive(Debug)]
pub struct ReturnLine {
    /// The merchant's product number.
    pub product_no: String,
    /// Pieces announced.
    pub quantity: i64,
    /// Pieces accepted and rejected, once received.
    pub result: Option<(i64, i64)>,
}

impl Return {
    fn by_marketplace(&self) -> bool {
        self.channel_no.is_some()
    }

    fn status(&self) -> &'static str {
        if self.received { "RECEIVED" } else { "IN_PROGRESS" }
    }
}

/// `POST /v2/returns/merchant`: a return that the merchant announces for what was shipped.
pub fn declare(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let merchant_order_no = reader.required_text(&request, "MerchantOrderNo", 50);
    let merchant_no = reader.required_text(&request, "MerchantReturnNo", 50);
    let wanted = wanted_lines(&mut reader, &request);
    let reason = reader.choice(&request, "Reason", &REASONS).unwrap_or("OTHER");
    let customer_comment = reader.text(&request, "CustomerComment", 4_001);
    let merchant_comment = reader.text(&request, "MerchantComment", 4_001);
    let refund = reader.decimal(&request, "RefundInclVat").unwrap_or(0.0);
    let extra = reader.dictionary(&request, "ExtraData");
    reader.finish(())?;
    unused(state, &merchant_no)?;
    let order = state.order_mut(&merchant_order_no)?;
    take_pieces(order, &wanted, |line| line.shipped - line.returned, |line, pieces| line.returned += pieces)?;
    order.changed(call.now);
    let (order_id, id, now) = (order.id, state.next_id(), call.now);
    let line = |(_, product_no, quantity)| ReturnLine { product_no, quantity, result: None };
    let lines = wanted.into_iter().map(line).collect();
    let (merchant_no, channel_no, acknowledged) = (Some(merchant_no), None, Some(now));
    let (created, updated, received) = (now, now, false);
    state.returns.insert(
        id,
        Return {
            id,
            order_id,
            merchant_no,
            channel_no,
            lines,
            received,
            reason,
            customer_comment,
            merchant_comment,
            refund,
            extra,
            acknowledged,
            created,
            updated,
        },
    );
    Ok(Reply::Done(StatusCode::CREATED))
}

fn unused(state: &State, merchant_no: &str) -> Result<(), Problem> {
    if state.returns.values().any(|each| each.merchant_no.as_deref() == Some(merchant_no)) {
        return Err(Problem::conflict(format!("The merchant return number '{merchant_no}' is already in use.")));
    }
    Ok(())
}

/// `POST /v2/returns/merchant/acknowledge`: ties a return to the merchant's number, once.
pub fn acknowledge(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let id = reader.required_integer(&request, "ReturnId");
    let merchant_no = reader.required_text(&request, "MerchantReturnNo", 50);
    reader.finish(())?;
    let found = state.returns.get(&id).ok_or_else(|| Problem::missing("Return", id))?;
    if found.acknowledged.is_some() {
        return Err(Problem::conflict(format!("Return '{id}' is already acknowledged.")));
    }
    unused(state, &merchant_no)?;
    if let Some(found) = state.returns.get_mut(&id) {
        (found.merchant_no, found.acknowledged, found.updated) = (Some(merchant_no), Some(call.now), call.now);
    }
    Ok(Reply::Done(StatusCode::OK))
}

/// `PUT /v2/returns`: says of every line how many pieces were accepted and rejected; once.
pub fn receive(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let id = reader.required_integer(&request, "ReturnId");
    let mut results = Vec::new();
    for line in reader.lines(&request, "Lines") {
        let product_no = reader.required_text(&line, "MerchantProductNo", 64);
        let counts = ["AcceptedQuantity", "RejectedQuantity"].map(|name| reader.required_integer(&line, name));
        results.push((line.path(""), product_no, counts));
    }
    reader.finish(())?;
    let found = state.returns.get_mut(&id).ok_or_else(|| Problem::missing("Return", id))?;
    if found.received {
        return Err(Problem::conflict(format!("Return '{id}' is already handled.")));
    }
    check_results(found, &results)?;
    for (_, product_no, [accepted, rejected]) in results {
        for line in found.lines.iter_mut().filter(|line| line.product_no == product_no) {
            line.result = Some((accepted, rejected));
        }
    }
    (found.received, found.updated) = (true, call.now);
    Ok(Reply::Done(StatusCode::OK))
}

fn check_results(found: &Return, results: &[(String, String, [i64; 2])]) -> Result<(), Problem> {
    let mut reader = Reader::default();
    for (path, product_no, [accepted, rejected]) in results {
        match found.lines.iter().find(|line| line.product_no == *product_no) {
            None => reader
                .complain(format!("{path}MerchantProductNo"), format!("The return has no product '{product_no}'.")),
            Some(line) if *accepted < 0 || *rejected < 0 || accepted + rejected > line.quantity => {
                let complaint = format!(
                    "'AcceptedQuantity' and 'RejectedQuantity' together must be between '0' and '{}'.",
                    line.quantity
                );
                reader.complain(format!("{path}AcceptedQuantity"), complaint);
            }
            Some(_) => {}
        }
    }
    reader.finish(())
}

/// `GET /v2/returns`: of every kind.
pub fn list(state: &State, call: &Call) -> Outcome {
    let creator = call.query.one("creatortype").map(str::to_ascii_uppercase);
    search(state, call, |each| match creator.as_deref() {
        Some("ONLY_FROM_MERCHANT") => !each.by_marketplace(),
        Some("ONLY_FROM_CHANNEL") => each.by_marketplace(),
        _ => true,
    })
}

/// `GET /v2/returns/merchant`: what the marketplace announced.
pub fn from_marketplace(state: &State, call: &Call) -> Outcome {
    search(state, call, Return::by_marketplace)
}

/// `GET /v2/returns/merchant/new`: what the marketplace announced and nobody has received.
pub fn unhandled(state: &State, call: &Call) -> Outcome {
    search(state, call, |each| each.by_marketplace() && !each.received)
}

/// `GET /v2/returns/merchant/{merchantOrderNo}`: of one order, with the pieces accepted and rejected.
pub fn of_order(state: &State, call: &Call) -> Outcome {
    let order = state.order(call.param(0))?;
    search(state, call, |each| each.order_id == order.id)
}

fn search(state: &State, call: &Call, kind: impl Fn(&Return) -> bool) -> Outcome {
    let query = &call.query;
    let mut found = Vec::new();
    for each in state.returns.values().filter(|each| kind(each)) {
        let Some(order) = state.orders.get(&each.order_id) else { continue };
        let hit = query.admits("statuses", each.status())
            && query.admits("reasons", each.reason)
            && query.admits("merchantordernos", order.merchant_no())
            && query.admits("channelordernos", &order.channel_order_no)
            && query.admits("channelids", &order.channel_id.to_string())
            && query.flag("isacknowledged")?.is_none_or(|wanted| wanted == each.acknowledged.is_some());
        if hit && query.within("fromdate", "todate", Some(each.created))? {
            found.push(view(each, order));
        }
    }
    Ok(Reply::List(List::render(found.iter(), query.page()?, 100)))
}

fn view(each: &Return, order: &Order) -> Value {
    let channel = super::tenant::channel(order.channel_id);
    let lines: Vec<Value> = each.lines.iter().filter_map(|line| return_line(order, line)).collect();
    json!({
        "Id": each.id, "MerchantOrderNo": order.merchant_order_no, "ChannelOrderNo": order.channel_order_no,
        "ChannelId": channel.id, "GlobalChannelId": channel.global_id, "GlobalChannelName": channel.global_name,
        "Lines": lines, "CreatedAt": moment(each.created), "UpdatedAt": moment(each.updated),
        "MerchantReturnNo": each.merchant_no, "ChannelReturnNo": each.channel_no, "Status": each.status(),
        "AcknowledgedDate": each.acknowledged.map(moment), "Reason": each.reason,
        "CustomerComment": each.customer_comment, "MerchantComment": each.merchant_comment,
        "RefundInclVat": each.refund, "RefundExclVat": (each.refund / 1.21 * 100.0).round() / 100.0,
        "ReturnDate": moment(each.created), "ExtraData": each.extra,
    })
}

fn return_line(order: &Order, line: &ReturnLine) -> Option<Value> {
    let ordered = &order.lines[order.line_at(&line.product_no)?];
    Some(json!({
        "MerchantProductNo": line.product_no, "OrderLine": line_view(order, ordered), "ShipmentStatus": "SHIPPED",
        "AcceptedQuantity": line.result.map(|(accepted, _)| accepted),
        "RejectedQuantity": line.result.map(|(_, rejected)| rejected), "Quantity": line.quantity, "ExtraData": {},
    }))
}
