//! What could make two programs see different requests in the same bytes: where a body ends, and what a name means.

use http::{HeaderMap, HeaderName, Method, header};

/// Names that mean something on a call's way. A server to which `_` and `-` are the same (CGI, WSGI, PHP and others) reads
/// `content_length` as one of them, and then has two.
const MEANT: [&str; 15] = [
    "content-length",
    "transfer-encoding",
    "accept-encoding",
    "content-encoding",
    "content-type",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "http2-settings",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-host",
];

/// Whether the body's end is said once and in the one spelling: a plain length, or `chunked` alone. A body that comes
/// without a length with GET or HEAD would get lost on its way; no client of an API sends one.
pub(super) fn is_plain(method: &Method, headers: &HeaderMap, has_body: bool) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (_, None) if has_body && (method == Method::GET || method == Method::HEAD) => false,
        (None, None) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none(),
        (None, Some(length)) => is_plain_number(length.as_bytes()) && lengths.next().is_none(),
        (Some(_), Some(_)) => false,
    }
}

fn is_plain_number(text: &[u8]) -> bool {
    let leading = text.first() == Some(&b'0') && text.len() > 1;
    !text.is_empty() && !leading && text.iter().all(u8::is_ascii_digit)
}

/// Whether a name could be taken for one that means something, because it holds `_` where that one has `-`.
pub(super) fn has_twin(name: &HeaderName, slots: &[HeaderName]) -> bool {
    let name = name.as_str();
    // Hardly any name has one.
    if memchr::memchr(b'_', name.as_bytes()).is_none() {
        return false;
    }
    let twin = |meant: &str| {
        let pairs = name.bytes().zip(meant.bytes());
        name.len() == meant.len() && pairs.into_iter().all(|(a, b)| a == b || (a, b) == (b'_', b'-'))
    };
    MEANT.iter().any(|meant| twin(meant)) || slots.iter().any(|slot| twin(slot.as_str()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn plain(method: &str, fields: &[(&str, &str)], has_body: bool) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        is_plain(&method.parse().unwrap(), &headers, has_body)
    }

    #[test]
    fn a_length_is_said_once_and_plainly() {
        for good in ["0", "5", "50", "18446744073709551616"] {
            assert!(plain("POST", &[("content-length", good)], true), "{good}");
        }
        for bad in ["", "05", "00", "+5", "5,5", "0x5", "5 "] {
            assert!(!plain("POST", &[("content-length", bad)], true), "{bad}");
        }
        assert!(!plain("POST", &[("content-length", "5"), ("content-length", "5")], true));
        assert!(!plain("POST", &[("content-length", "5"), ("transfer-encoding", "chunked")], true));
    }

    #[test]
    fn the_only_coding_is_chunked() {
        assert!(plain("POST", &[("transfer-encoding", "Chunked")], true));
        for bad in ["gzip, chunked", "chunked, chunked", ",chunked", "identity", ""] {
            assert!(!plain("POST", &[("transfer-encoding", bad)], true), "{bad}");
        }
        assert!(!plain("POST", &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], true));
    }

    #[test]
    fn a_get_has_a_body_only_with_its_length() {
        assert!(plain("GET", &[], false) && plain("POST", &[], true));
        assert!(plain("GET", &[("content-length", "5")], true));
        assert!(!plain("GET", &[("transfer-encoding", "chunked")], true));
        assert!(!plain("HEAD", &[], true));
    }

    proptest! {
        #[test]
        fn a_name_that_folds_to_one_that_means_something_is_its_twin(
            which in 0..MEANT.len() + 1, mask in any::<u32>(),
        ) {
            let slots = [HeaderName::from_static("x-ce-key")];
            let meant = MEANT.get(which).copied().unwrap_or("x-ce-key");
            let bytes = meant.bytes().enumerate();
            let folded: String =
                bytes.map(|(n, b)| char::from(if b == b'-' && mask >> n & 1 == 1 { b'_' } else { b })).collect();
            let name = HeaderName::from_bytes(folded.as_bytes()).unwrap();
            prop_assert_eq!(has_twin(&name, &slots), folded != meant);
        }
    }
}
