//! How an order looks from outside: every documented field, amounts with and without VAT, addresses.

use super::orders::{Line, Order, Status};
use super::tenant;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Percent, for every product and country: enough for a stand-in.
pub const VAT_RATE: f64 = 21.0;

const ADDRESS_FIELDS: [&str; 18] = [
    "Line1",
    "Line2",
    "Line3",
    "Gender",
    "CompanyName",
    "FirstName",
    "LastName",
    "StreetName",
    "HouseNr",
    "HouseNrAddition",
    "ZipCode",
    "City",
    "Region",
    "CountryIso",
    "Original",
    "PickupPointNumber",
    "PickupPointName",
    "AddressType",
];

/// An address with all documented fields, each found in any case by `get`.
pub fn address(get: impl Fn(&str) -> Option<String>) -> Map<String, Value> {
    let mut fields: Map<String, Value> =
        ADDRESS_FIELDS.iter().map(|name| ((*name).to_owned(), json!(get(name)))).collect();
    let gender = get("Gender").map(|word| word.to_ascii_uppercase());
    let gender = gender.filter(|word| word == "MALE" || word == "FEMALE");
    fields.insert("Gender".to_owned(), json!(gender.as_deref().unwrap_or("NOT_APPLICABLE")));
    if fields["Line1"].is_null() {
        fields.insert("Line1".to_owned(), json!(joined(&fields, &["StreetName", "HouseNr", "HouseNrAddition"])));
    }
    fields
}

fn joined(fields: &Map<String, Value>, names: &[&str]) -> String {
    let parts: Vec<&str> = names.iter().filter_map(|name| fields[*name].as_str()).collect();
    parts.join(" ")
}

/// `2026-01-02T03:04:05Z`.
pub fn moment(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// Two decimals.
fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

fn vat(incl: f64) -> f64 {
    cents(incl - incl / (1.0 + VAT_RATE / 100.0))
}

/// The whole order as the API shows it.
pub fn order(order: &Order) -> Value {
    let mut all = head(order);
    merge(&mut all, money(order));
    merge(&mut all, people(order));
    all["Lines"] = order.lines.iter().map(|each| line(order, each)).collect();
    all
}

fn merge(all: &mut Value, part: Value) {
    if let (Value::Object(all), Value::Object(part)) = (all, part) {
        all.extend(part);
    }
}

fn head(order: &Order) -> Value {
    let channel = tenant::channel(order.channel_id);
    let closed = matches!(order.status, Status::Canceled).then(|| moment(order.updated));
    json!({
        "Id": order.id, "Status": order.status.word(), "IsBusinessOrder": order.customer.vat_no.is_some(),
        "ChannelId": order.channel_id, "ChannelName": channel.name, "GlobalChannelId": channel.global_id,
        "GlobalChannelName": channel.global_name, "GlobalSalesChannelPluginInfoName": channel.global_name,
        "ChannelOrderSupport": "SPLIT_ORDER_LINES", "ChannelOrderNo": order.channel_order_no,
        "CommercialOrderNo": order.channel_order_no, "MerchantOrderNo": order.merchant_order_no,
        "AcknowledgedDate": order.acknowledged.map(moment), "CreatedAt": moment(order.created),
        "UpdatedAt": moment(order.updated), "ClosedAt": closed, "OrderDate": moment(order.created),
        "MerchantComment": order.comment, "CurrencyCode": order.currency, "IsTest": order.is_test,
        "ExtraData": {}, "ServiceLines": [], "BundleOrderLines": [],
    })
}

fn people(order: &Order) -> Value {
    let customer = &order.customer;
    json!({
        "Email": customer.email, "Phone": customer.phone, "VatNo": customer.vat_no,
        "CompanyRegistrationNo": customer.coc_no, "ChannelCustomerNo": customer.channel_customer_no,
        "LanguageCode": "nl", "PaymentMethod": "IDEAL", "PaymentReferenceNo": format!("PAY-{:08}", order.id),
        "BillingAddress": customer.billing, "ShippingAddress": customer.shipping,
    })
}

fn money(order: &Order) -> Value {
    let count = |line: &Line| line.unit_price * as_float(line.quantity);
    let (sub, shipping) = (cents(order.lines.iter().map(count).sum()), cents(order.shipping_costs));
    let total = cents(sub + shipping);
    let [sub_vat, shipping_vat, total_vat] = [sub, shipping, total].map(vat);
    let [sub_excl, shipping_excl, total_excl] = [sub - sub_vat, shipping - shipping_vat, total - total_vat].map(cents);
    let fee = cents(sub * 0.1);
    json!({
        "SubTotalInclVat": sub, "SubTotalVat": sub_vat, "SubTotalExclVat": sub_excl,
        "ShippingCostsInclVat": shipping, "ShippingCostsVat": shipping_vat, "ShippingCostsExclVat": shipping_excl,
        "TotalInclVat": total, "TotalVat": total_vat, "TotalExclVat": total_excl,
        "OriginalSubTotalInclVat": sub, "OriginalSubTotalVat": sub_vat, "OriginalSubTotalExclVat": sub_excl,
        "OriginalShippingCostsInclVat": shipping, "OriginalShippingCostsVat": shipping_vat,
        "OriginalShippingCostsExclVat": shipping_excl, "OriginalTotalInclVat": total,
        "OriginalTotalVat": total_vat, "OriginalTotalExclVat": total_excl,
        "SubTotalFee": fee, "OriginalSubTotalFee": fee, "OrderFee": 0.0, "OriginalOrderFee": 0.0,
        "TotalFee": fee, "OriginalTotalFee": fee,
    })
}

/// Pieces as a number to reckon with; 32-bit, so nothing is lost.
fn as_float(pieces: i64) -> f64 {
    f64::from(i32::try_from(pieces).unwrap_or(i32::MAX))
}

/// A line, also as shipments and returns show it.
pub fn line(order: &Order, line: &Line) -> Value {
    let (unit, all) = (line.unit_price, cents(line.unit_price * as_float(line.quantity)));
    let ([unit_vat, all_vat], status) = ([unit, all].map(vat), status(order, line));
    let [unit_excl, all_excl] = [unit - unit_vat, all - all_vat].map(cents);
    json!({
        "Id": line.id, "ChannelOrderLineNo": format!("{}-{}", order.channel_order_no, line.id), "Status": status.word(),
        "IsFulfillmentByMarketplace": line.by_marketplace, "Gtin": line.gtin, "Description": line.description,
        "StockLocation": {"Id": tenant::STOCK_LOCATIONS[0].id, "Name": tenant::STOCK_LOCATIONS[0].name},
        "UnitVat": unit_vat, "LineTotalInclVat": all, "LineVat": all_vat, "OriginalUnitPriceInclVat": unit,
        "OriginalUnitVat": unit_vat, "OriginalLineTotalInclVat": all, "OriginalLineVat": all_vat,
        "OriginalFeeFixed": 0.0, "BundleProductMerchantProductNo": null, "JurisCode": null, "JurisName": null,
        "VatRate": VAT_RATE, "UnitPriceExclVat": unit_excl, "LineTotalExclVat": all_excl,
        "OriginalUnitPriceExclVat": unit_excl, "OriginalLineTotalExclVat": all_excl, "ExtraData": [],
        "ChannelProductNo": format!("CH-{}", line.product_no), "MerchantProductNo": line.product_no,
        "Quantity": line.quantity, "CancellationRequestedQuantity": 0, "UnitPriceInclVat": unit,
        "FeeFixed": 0.0, "FeeRate": 10.0, "Condition": "NEW", "ExactDeliveryDate": null,
        "ExpectedDeliveryDate": null, "LatestDeliveryDate": null, "ExactShipmentDate": null,
        "ExpectedShipmentDate": null, "LatestShipmentDate": null,
    })
}

fn status(order: &Order, line: &Line) -> Status {
    match (line.open(), line.shipped) {
        (0, 0) => Status::Canceled,
        (0, _) => Status::Shipped,
        _ => order.status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vat_is_the_part_that_is_in_the_price() {
        assert!((vat(121.0) - 21.0).abs() < 1e-9);
        assert!((cents(0.1 + 0.2) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn an_address_has_every_field_and_a_known_gender() {
        let shown = address(|name| match name {
            "StreetName" => Some("Papengracht".to_owned()),
            "HouseNr" => Some("12".to_owned()),
            "Gender" => Some("female".to_owned()),
            _ => None,
        });
        assert_eq!((&shown["Line1"], &shown["Gender"]), (&json!("Papengracht 12"), &json!("FEMALE")));
        assert_eq!(shown.len(), ADDRESS_FIELDS.len());
    }
}
