//! The endpoints as a table, and how a target finds its own.

use super::envelope::{Outcome, Problem};
use super::state::{Call, State};
use super::{
    cancellations, documents, offers, orders, product_patch, products, returns, shipments, tenant, test_orders,
    webhooks,
};
use http::{Method, StatusCode};

/// What an endpoint does; reads run side by side, writes one at a time.
#[derive(Debug, Clone, Copy)]
pub enum Do {
    /// Looks only.
    Read(fn(&State, &Call) -> Outcome),
    /// Changes something.
    Write(fn(&mut State, &Call) -> Outcome),
}

/// One endpoint.
#[derive(Debug)]
pub struct Route {
    /// `GET /v2/orders`, as rate limits name it.
    pub name: &'static str,
    /// What it does.
    pub does: Do,
    /// Whether it takes other bodies than JSON.
    pub takes: Takes,
}

/// Which request bodies an endpoint takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// `application/json`, `application/json-patch+json`, `application/*+json`.
    Json,
    /// `application/json-patch+json` alone.
    JsonPatch,
    /// Anything, such as `multipart/form-data`.
    Anything,
}

const fn read(name: &'static str, does: fn(&State, &Call) -> Outcome) -> Route {
    Route { name, does: Do::Read(does), takes: Takes::Json }
}

const fn write(name: &'static str, does: fn(&mut State, &Call) -> Outcome) -> Route {
    Route { name, does: Do::Write(does), takes: Takes::Json }
}

/// Literal paths stand before those with a parameter in the same place.
static ROUTES: &[Route] = &[
    read("GET /v2/orders/new", orders::new),
    read("GET /v2/orders", orders::list),
    read("GET /v2/products", products::list),
    read("GET /v2/orders/documents", tenant::nothing),
    write("POST /v2/orders/acknowledge", orders::acknowledge),
    write("PUT /v2/orders/comment", orders::comment),
    read("GET /v2/orders/{merchantOrderNo}/invoice", documents::invoice),
    Route {
        name: "POST /v2/orders/{merchantOrderNo}/invoice",
        does: Do::Read(documents::upload),
        takes: Takes::Anything,
    },
    read("POST /v2/orders/{merchantOrderNo}/invoice-base64", documents::upload_base64),
    read("GET /v2/orders/{merchantOrderNo}/packingslip", documents::packing_slip),
    read("GET /v2/orders/{merchantShipmentNo}/shippinglabel", documents::shipping_label),
    write("POST /v2/products", products::create),
    write("PATCH /v2/products", product_patch::bulk),
    write("POST /v2/products/bulkdelete", products::bulk_delete),
    write("PATCH /v2/products/extra-data", product_patch::extra_data),
    write("PATCH /v2/products/extra-data/bulk", product_patch::extra_data_bulk),
    read("GET /v2/products/{merchantProductNo}", products::get),
    Route {
        name: "PATCH /v2/products/{merchantProductNo}",
        does: Do::Write(product_patch::patch),
        takes: Takes::JsonPatch,
    },
    write("DELETE /v2/products/{merchantProductNo}", products::delete),
    write("PUT /v2/offer", offers::put),
    read("GET /v2/offer/stock", offers::stock),
    write("PUT /v2/offer/stock", offers::put_stock),
    write("POST /v2/shipments", shipments::create),
    read("GET /v2/shipments/merchant", shipments::list),
    write("PUT /v2/shipments/{merchantShipmentNo}", shipments::update),
    write("POST /v2/cancellations", cancellations::create),
    read("GET /v2/cancellations/merchant", cancellations::list),
    read("GET /v2/returns", returns::list),
    write("PUT /v2/returns", returns::receive),
    read("GET /v2/returns/merchant", returns::from_marketplace),
    write("POST /v2/returns/merchant", returns::declare),
    read("GET /v2/returns/merchant/new", returns::unhandled),
    write("POST /v2/returns/merchant/acknowledge", returns::acknowledge),
    read("GET /v2/returns/merchant/{merchantOrderNo}", returns::of_order),
    read("GET /v2/webhooks", webhooks::list),
    write("POST /v2/webhooks", webhooks::create),
    write("PUT /v2/webhooks", webhooks::update),
    write("DELETE /v2/webhooks/{webhookName}", webhooks::delete),
    write("POST /v2/supportorder", test_orders::create),
    read("GET /v2/settings", tenant::settings),
    read("GET /v2/channels", tenant::channels),
    read("GET /v2/stocklocations", tenant::stock_locations),
    read("POST /v2/carriers/{merchantOrderNo}", tenant::carriers),
    read("GET /v2/notifications", tenant::nothing),
    read("GET /v2/productbundles", tenant::nothing),
    read("GET /v2/product-attribute-group", tenant::nothing),
    read("GET /v2/product-attribute-group/linked-channels", tenant::nothing),
    read("GET /v2/purchase-orders", tenant::nothing),
    read("GET /v2/purchase-orders/shipments/merchant", tenant::nothing),
    read("GET /v2/reports/available", tenant::nothing),
    read("GET /v2/settlements", tenant::nothing),
    read("GET /v2/custom-fields", tenant::nothing),
    read("GET /v2/fulfillmentstock", tenant::nothing),
    read("GET /v2/competitionprices/buyboxprices", tenant::nothing),
    read("GET /v2/channels/{channelId}/products", tenant::nothing),
    read("GET /v2/offer/{channelId}/product-level-stock-limitations", tenant::nothing),
    read("GET /v2.1/returns/merchant", tenant::nothing),
    read("GET /v2.1/refunds/merchant", tenant::nothing),
];

/// Finds the endpoint of `segments` (below the base path) and the values of its parameters.
///
/// 404 for a path that no endpoint has, 405 for one that knows other methods.
pub fn find(method: &Method, segments: &[String]) -> Result<(&'static Route, Vec<String>), Problem> {
    let mut other_methods = Vec::new();
    for route in ROUTES {
        let Some((verb, template)) = route.name.split_once(' ') else { continue };
        if let Some(params) = params(template, segments) {
            if verb == method.as_str() {
                return Ok((route, params));
            }
            other_methods.push(verb);
        }
    }
    if other_methods.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "The requested resource was not found."));
    }
    let mut problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("The method {method} is not allowed here."));
    problem.allow = Some(other_methods.join(", "));
    Err(problem)
}

/// The parameters' values when `segments` fit the template; letters' case does not matter, as in ASP.NET.
fn params(template: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut params = Vec::new();
    let mut rest = segments.iter();
    for wanted in template.split('/').skip(1) {
        let segment = rest.next()?;
        if wanted.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            params.push(segment.clone());
        } else if !segment.eq_ignore_ascii_case(wanted) {
            return None;
        }
    }
    rest.next().is_none().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &Method, path: &str) -> Result<(&'static str, Vec<String>), u16> {
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        find(method, &segments).map(|(route, params)| (route.name, params)).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn letters_case_does_not_matter() {
        assert_eq!(name(&Method::GET, "V2/Orders/NEW").unwrap().0, "GET /v2/orders/new");
    }

    #[test]
    fn fixed_words_win_over_parameters() {
        assert_eq!(name(&Method::GET, "v2/returns/merchant/new").unwrap().0, "GET /v2/returns/merchant/new");
        assert_eq!(name(&Method::GET, "v2/returns/merchant/M-1").unwrap().1, ["M-1"]);
    }

    #[test]
    fn other_methods_are_not_allowed_and_other_paths_are_not_found() {
        assert_eq!(name(&Method::DELETE, "v2/orders"), Err(405));
        assert_eq!(find(&Method::HEAD, &["v2".into(), "offer".into()]).unwrap_err().allow.as_deref(), Some("PUT"));
        assert_eq!(name(&Method::GET, "v2/nothing"), Err(404));
        assert_eq!(name(&Method::GET, "v2//orders"), Err(404));
        assert_eq!(name(&Method::GET, "v3/orders"), Err(404));
    }

    #[test]
    fn no_endpoint_stands_behind_one_that_hides_it() {
        for route in ROUTES {
            let (method, path) = route.name.split_once(' ').unwrap();
            let found = name(&method.parse().unwrap(), path.trim_start_matches('/')).unwrap().0;
            assert_eq!(found, route.name);
        }
    }
}
