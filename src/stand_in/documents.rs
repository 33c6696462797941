//! Documents of an order: a real, small PDF for invoice and packing slip; uploads are taken and counted.

use super::envelope::{Outcome, Problem, Reply};
use super::fields::Reader;
use super::orders::Order;
use super::state::{Call, State};
use http::StatusCode;
use std::fmt::Write as _;

/// `GET /v2/orders/{merchantOrderNo}/invoice`.
pub fn invoice(state: &State, call: &Call) -> Outcome {
    Ok(document(state.order(call.param(0))?, "Invoice"))
}

/// `GET /v2/orders/{merchantOrderNo}/packingslip`.
pub fn packing_slip(state: &State, call: &Call) -> Outcome {
    Ok(document(state.order(call.param(0))?, "Packing slip"))
}

fn document(order: &Order, title: &str) -> Reply {
    let mut lines =
        vec![format!("{title} {}", order.merchant_no()), format!("Order {}", order.channel_order_no), String::new()];
    for line in &order.lines {
        lines.push(format!("{} x {}  {:.2} {}", line.quantity, line.description, line.unit_price, order.currency));
    }
    let plain = |each: char| if each.is_ascii_alphanumeric() || "-_.".contains(each) { each } else { '_' };
    let name: String = format!("{title}-{}.pdf", order.merchant_no()).chars().map(plain).collect();
    Reply::Document { content_type: "application/pdf", name, bytes: pdf(&lines) }
}

/// `GET /v2/orders/{merchantShipmentNo}/shippinglabel`: 404, which means not ready yet.
pub fn shipping_label(state: &State, call: &Call) -> Outcome {
    let known = state.shipments.iter().any(|shipment| shipment.no == call.param(0));
    let message = if known { "The shipping label is not available yet." } else { "The shipment was not found." };
    Err(Problem::new(StatusCode::NOT_FOUND, message))
}

/// `POST /v2/orders/{merchantOrderNo}/invoice`: a multipart upload; read, counted and forgotten.
pub fn upload(state: &State, call: &Call) -> Outcome {
    state.order(call.param(0))?;
    if call.body.is_empty() {
        return Err(Problem::invalid_field("Invoice", "'Invoice' must not be empty."));
    }
    Ok(Reply::Done(StatusCode::OK))
}

/// `POST /v2/orders/{merchantOrderNo}/invoice-base64`.
pub fn upload_base64(state: &State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    reader.required_text(&request, "InvoiceContent", usize::MAX);
    reader.required_text(&request, "InvoiceNumber", 250);
    reader.finish(())?;
    state.order(call.param(0))?;
    Ok(Reply::Done(StatusCode::OK))
}

/// A PDF of one A4 page with these lines; what is not ASCII becomes `?`.
fn pdf(lines: &[String]) -> Vec<u8> {
    let mut page = "BT /F1 12 Tf 16 TL 60 780 Td".to_owned();
    for line in lines {
        let escaped: String = line.chars().flat_map(pdf_character).collect();
        // Writing to a string cannot fail.
        let _ = write!(page, " ({escaped}) Tj T*");
    }
    page.push_str(" ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >> >>".to_owned(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
        format!("<< /Length {} >>\nstream\n{page}\nendstream", page.len()),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = "0000000000 65535 f \n".to_owned();
    for (at, object) in objects.iter().enumerate() {
        let _ = writeln!(table, "{:010} 00000 n ", file.len());
        let _ = writeln!(file, "{} 0 obj\n{object}\nendobj", at + 1);
    }
    let start = file.len();
    let count = objects.len() + 1;
    let _ =
        write!(file, "xref\n0 {count}\n{table}trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n");
    file.into_bytes()
}

fn pdf_character(each: char) -> Vec<char> {
    match each {
        '(' | ')' | '\\' => vec!['\\', each],
        ' '..='~' => vec![each],
        _ => vec!['?'],
    }
}

#[cfg(test)]
mod tests {
    use super::super::seed::testing::acknowledged;
    use super::super::state::testing::param;
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn an_invoice_is_a_pdf_whose_table_points_to_its_objects() {
        let state = acknowledged("M-1", &[("A", 1)]);
        let Ok(Reply::Document { content_type, name, bytes }) = invoice(&state, &param("M-1", &Value::Null)) else {
            panic!("no document")
        };
        assert_eq!((content_type, name.as_str()), ("application/pdf", "Invoice-M-1.pdf"));
        let text = String::from_utf8(bytes).unwrap();
        for (at, entry) in text.lines().filter(|line| line.ends_with(" n ")).enumerate() {
            let offset: usize = entry[..10].parse().unwrap();
            assert!(text[offset..].starts_with(&format!("{} 0 obj", at + 1)));
        }
    }

    #[test]
    fn documents_of_unknown_orders_are_missing() {
        let state = acknowledged("M-1", &[("A", 1)]);
        assert_eq!(invoice(&state, &param("M-2", &Value::Null)).unwrap_err().status, 404);
        assert_eq!(upload_base64(&state, &param("M-1", &json!({"InvoiceNumber": "1"}))).unwrap_err().status, 400);
        assert_eq!(shipping_label(&state, &param("S-1", &Value::Null)).unwrap_err().status, 404);
    }

    #[test]
    fn brackets_in_names_do_not_break_the_page() {
        assert!(String::from_utf8(pdf(&["a (b) é".to_owned()])).unwrap().contains(r"(a \(b\) ?) Tj"));
    }
}
