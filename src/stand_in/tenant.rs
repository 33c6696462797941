//! The tenant: its settings, channels, stock locations and carriers. None of it changes.

use super::envelope::{List, Outcome, Reply};
use super::fields::Reader;
use super::state::{Call, State};
use serde_json::json;

/// A sales channel.
#[derive(Debug)]
pub struct Channel {
    /// The tenant's own id.
    pub id: i64,
    /// The tenant's own name.
    pub name: &'static str,
    /// ChannelEngine's id.
    pub global_id: i64,
    /// ChannelEngine's name.
    pub global_name: &'static str,
    /// ISO 3166.
    pub country: &'static str,
}

/// All channels; the first stands in for unknown ids.
pub const CHANNELS: [Channel; 3] = [
    Channel { id: 1, name: "Custom Channel NL", global_id: 101, global_name: "Custom Channel", country: "NL" },
    Channel { id: 2, name: "Example Market DE", global_id: 102, global_name: "Example Market", country: "DE" },
    Channel { id: 3, name: "Example Market BE", global_id: 102, global_name: "Example Market", country: "BE" },
];

/// The channel with an id.
pub fn channel(id: i64) -> &'static Channel {
    CHANNELS.iter().find(|channel| channel.id == id).unwrap_or(&CHANNELS[0])
}

/// A place that holds stock.
#[derive(Debug)]
pub struct StockLocation {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: &'static str,
    /// ISO 3166.
    pub country: &'static str,
}

/// All stock locations; the first is the main one.
pub const STOCK_LOCATIONS: [StockLocation; 2] = [
    StockLocation { id: 1, name: "Main warehouse", country: "NL" },
    StockLocation { id: 2, name: "Shop Leiden", country: "NL" },
];

/// `GET /v2/settings`.
pub fn settings(_: &State, _: &Call) -> Outcome {
    Reply::single(&json!({
        "Name": "stand-in", "CompanyName": "Example Trading B.V.", "CurrencyCode": "EUR", "DefaultCultureCode": "nl-NL",
        "Settings": {
            "Shipment": {
                "DefaultTrackedShipmentMethod": "PostNL", "DefaultUntrackedShipmentMethod": "PostNL Briefpost",
                "AutomaticallySetShipmentMethodAfterMinutes": null,
            },
            "Advanced": {
                "ManageStock": true, "DisableAddressValidation": false, "SkipHouseNumberValidation": false,
                "SkipHouseNumberValidationForCountryCodes": [], "SetOrdersToClosedOnImport": false,
                "DisableStockReservation": false, "DisableAutoOrderCancellation": false,
                "AutomaticallySetPhoneNumberIfEmpty": null, "DefaultVatRate": super::order_view::VAT_RATE,
                "OrderTooLongOnNewHoursOffset": 24,
            },
        },
        "Vat": [{"CountryIso": "NL", "No": "NL000000000B00", "StandardRate": 21.0, "ReducedRate": 9.0, "SuperReducedRate": null}],
    }))
}

/// `GET /v2/channels`: channels gathered under the global channel that they belong to.
pub fn channels(_: &State, _: &Call) -> Outcome {
    let items: Vec<_> = CHANNELS
        .iter()
        .map(|channel| {
            let own =
                json!([{"ChannelId": channel.id, "IsEnabled": true, "ChannelName": channel.name, "Reference": null}]);
            json!({
                "CountryCode": channel.country, "GlobalChannelId": channel.global_id, "Channels": own,
                "LanguageCode": channel.country.to_ascii_lowercase(), "GlobalChannelName": channel.global_name,
            })
        })
        .collect();
    Ok(Reply::List(List::render(items.iter(), 0, 100)))
}

/// `GET /v2/stocklocations`.
pub fn stock_locations(_: &State, _: &Call) -> Outcome {
    let item = |place: &StockLocation| json!({"Id": place.id, "Name": place.name, "CountryIso": place.country});
    let items: Vec<_> = STOCK_LOCATIONS.iter().map(item).collect();
    Ok(Reply::List(List::render(items.iter(), 0, 100)))
}

/// `POST /v2/carriers/{merchantOrderNo}`: a read done with POST.
pub fn carriers(state: &State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    for line in reader.lines(&request, "Lines") {
        reader.required_text(&line, "MerchantProductNo", 64);
        reader.quantity(&line, "Quantity");
    }
    for part in ["Dimensions", "Weight"] {
        if request.get(part).is_none() {
            reader.complain(part, format!("'{part}' must not be empty."));
        }
    }
    reader.finish(())?;
    state.order(call.param(0))?;
    let carrier = |name: &str, code: &str, price: f64, recommendation: &str| {
        json!({
            "Name": name, "Code": code, "Restrictions": null, "Price": price, "Recommendation": recommendation,
            "CollectionMethod": "DROP_OFF", "HandoverDateTime": null,
        })
    };
    let items = [carrier("PostNL", "POSTNL", 6.95, "RECOMMENDED"), carrier("DHL Parcel", "DHL", 7.25, "NEUTRAL")];
    Ok(Reply::List(List::render(items.iter(), 0, 100)))
}

/// Lists that this tenant has nothing in: bundles, purchase orders, settlements and the like.
pub fn nothing(_: &State, _: &Call) -> Outcome {
    Ok(Reply::List(List { per_page: 100, ..List::default() }))
}
