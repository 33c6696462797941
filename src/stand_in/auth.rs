//! Who calls: the API key in the header `X-CE-KEY`, or in the query parameter `apikey` in any case.

use super::envelope::Problem;
use super::keys::Keys;
use super::target::Query;
use http::{HeaderMap, StatusCode};

/// Finds the key's place among the accepted ones. The answer to an unknown key repeats it, as the real API's does.
pub fn identify(keys: &Keys, headers: &HeaderMap, query: &Query) -> Result<usize, Problem> {
    let header = headers.get("x-ce-key").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let Some(key) = header.or_else(|| query.one("apikey").map(str::to_owned)) else {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "API key is missing."));
    };
    keys.place(&key).ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, format!("API key is unknown: {key}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify_by(header: Option<&str>, query: &str) -> Result<usize, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(key) = header {
            headers.insert("X-CE-KEY", key.parse().unwrap());
        }
        identify(
            &Keys::new(vec!["first".to_owned(), "second".to_owned()], None).unwrap(),
            &headers,
            &Query::parse(query),
        )
    }

    #[test]
    fn a_key_may_stand_in_the_header_or_the_query() {
        assert_eq!(identify_by(Some("second"), ""), Ok(1));
        assert_eq!(identify_by(None, "ApiKey=first"), Ok(0));
        assert_eq!(identify_by(None, "apikey=%66irst"), Ok(0));
    }

    #[test]
    fn the_header_wins_over_the_query() {
        assert_eq!(identify_by(Some("wrong"), "apikey=first").unwrap_err().status, 401);
    }

    #[test]
    fn an_unknown_key_is_repeated_in_the_answer() {
        assert_eq!(identify_by(Some("who"), "").unwrap_err().message, "API key is unknown: who");
    }

    #[test]
    fn no_key_is_no_entry() {
        assert_eq!(identify_by(None, "apikey=").unwrap_err().status, 401);
    }
}
