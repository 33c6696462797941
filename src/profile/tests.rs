//! How profiles are found and refused: properties of the matcher, and the problems of bad files.

use http::Method;
use proptest::prelude::*;

use super::{BUILTIN_NAMES, Endpoint, Found, Profile, Segment, builtin, parse};

fn channelengine() -> Profile {
    builtin("channelengine").unwrap()
}

fn found<'a>(profile: &'a Profile, method: &Method, path: &str) -> Option<&'a str> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match profile.find(method, &segments) {
        Found::Endpoint(index) => Some(&profile.endpoints()[index].name),
        Found::OtherMethods(_) | Found::Nothing => None,
    }
}

/// The template with every parameter replaced by a word.
fn filled(endpoint: &Endpoint, word: &str) -> Vec<String> {
    let fill = |segment: &Segment| match segment {
        Segment::Literal(text) => text.to_string(),
        Segment::Param(_) => word.to_owned(),
    };
    endpoint.segments.iter().map(fill).collect()
}

fn find(profile: &Profile, method: &Method, segments: &[String]) -> Found {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    profile.find(method, &segments)
}

#[test]
fn a_literal_wins_over_a_parameter() {
    let profile = channelengine();
    assert_eq!(found(&profile, &Method::GET, "/v2/returns/merchant/new"), Some("GET /v2/returns/merchant/new"));
    assert_eq!(found(&profile, &Method::GET, "/v2/reports/available"), Some("GET /v2/reports/available"));
    assert_eq!(found(&profile, &Method::GET, "/v2/reports/7"), Some("GET /v2/reports/{reportId}"));
}

#[test]
fn a_literal_without_the_method_gives_way_to_a_parameter_that_has_it() {
    let profile = channelengine();
    let product = Some("GET /v2/products/{merchantProductNo}");
    assert_eq!(found(&profile, &Method::GET, "/v2/products/bulkdelete"), product);
    assert_eq!(found(&profile, &Method::POST, "/v2/products/bulkdelete"), Some("POST /v2/products/bulkdelete"));
}

#[test]
fn a_literal_that_leads_nowhere_is_left_again() {
    let profile = channelengine();
    let invoice = Some("GET /v2/orders/{merchantOrderNo}/invoice");
    assert_eq!(found(&profile, &Method::GET, "/v2/orders/documents/invoice"), invoice);
    assert_eq!(found(&profile, &Method::GET, "/v2/orders/NEW/invoice"), invoice);
}

#[test]
fn head_finds_what_get_finds_and_nothing_else() {
    let profile = channelengine();
    assert_eq!(found(&profile, &Method::HEAD, "/v2/orders"), Some("GET /v2/orders"));
    assert_eq!(found(&profile, &Method::HEAD, "/v2/orders/acknowledge"), None);
}

#[test]
fn a_known_path_with_another_method_names_the_methods_it_has() {
    let Found::OtherMethods(mut methods) = channelengine().find(&Method::PUT, &["v2", "products", "bulkdelete"]) else {
        panic!("the path is known, PUT is not");
    };
    methods.sort_by_key(ToString::to_string);
    assert_eq!(methods, [Method::DELETE, Method::GET, Method::PATCH, Method::POST]);
}

#[test]
fn a_parameter_is_never_empty() {
    assert_eq!(channelengine().find(&Method::GET, &["v2", "products", ""]), Found::Nothing);
    assert_eq!(channelengine().find::<&str>(&Method::GET, &[]), Found::Nothing);
}

#[test]
fn literals_keep_the_spelling_of_the_template() {
    let profile = channelengine();
    let endpoint = &profile.endpoints()[profile.index_of("GET /V2/ORDERS/{merchantorderno}/INVOICE").unwrap()];
    assert_eq!(endpoint.literal(0), Some("v2"));
    assert_eq!(endpoint.literal(2), None);
    assert_eq!(endpoint.literal(3), Some("invoice"));
    assert_eq!(endpoint.literal(4), None);
    assert_eq!(endpoint.params, ["merchantOrderNo".into()]);
}

#[test]
fn every_endpoint_is_found_by_its_own_filled_template() {
    for name in BUILTIN_NAMES {
        let profile = builtin(name).unwrap();
        for (index, endpoint) in profile.endpoints().iter().enumerate() {
            let segments = filled(endpoint, "K-4711");
            assert_eq!(find(&profile, &endpoint.method, &segments), Found::Endpoint(index), "{}", endpoint.name);
        }
    }
}

proptest! {
    #[test]
    fn whatever_fills_a_parameter_the_endpoint_keeps_its_shape(which in 0usize..107, word in "[^/]{1,40}") {
        let profile = channelengine();
        let endpoint = &profile.endpoints()[which];
        let Found::Endpoint(index) = find(&profile, &endpoint.method, &filled(endpoint, &word)) else {
            return Err(TestCaseError::fail("an endpoint is found by its own template"));
        };
        let found = &profile.endpoints()[index];
        prop_assert_eq!(&found.method, &endpoint.method);
        prop_assert_eq!(found.segments.len(), endpoint.segments.len());
    }

    #[test]
    fn the_case_of_literals_changes_nothing(which in 0usize..107, upper in any::<u64>()) {
        let profile = channelengine();
        let endpoint = &profile.endpoints()[which];
        let mut bits = upper;
        let mut flip = |c: char| {
            bits = bits.rotate_left(1);
            if bits & 1 == 1 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
        };
        let segments: Vec<String> =
            filled(endpoint, "k-4711").iter().map(|text| text.chars().map(&mut flip).collect()).collect();
        prop_assert_eq!(find(&profile, &endpoint.method, &segments), Found::Endpoint(which));
    }

    #[test]
    fn an_unknown_first_segment_finds_nothing(which in 0usize..107, word in "[a-z0-9]{3,12}") {
        let profile = channelengine();
        let endpoint = &profile.endpoints()[which];
        let mut segments = filled(endpoint, "K-4711");
        segments[0] = word;
        prop_assert_eq!(find(&profile, &endpoint.method, &segments), Found::Nothing);
    }

    #[test]
    fn no_file_makes_the_parser_panic(text in "\\PC{0,200}") {
        drop(parse(&text));
    }
}

/// A profile with one good endpoint and whatever else the case needs.
fn file(top: &str, endpoints: &str) -> String {
    format!(
        "name = \"mine\"\ntitle = \"Mine\"\nenvelope = \"problem\"\nslots = {{ headers = [\"x-key\"] }}\n{top}\nendpoints = [\n  \
         {{ method = \"GET\", path = \"/items\", scope = \"items:read\", effect = \"read\", purpose = \"Lists\" }},\n{endpoints}\n]\n"
    )
}

const INJECT: &str = r#"inject = [{ header = "x-key", template = "{key}" }]"#;

fn problems(text: &str) -> Vec<(usize, String)> {
    parse(text).unwrap_err().into_iter().map(|problem| (problem.line, problem.what)).collect()
}

#[test]
fn all_bad_lines_of_a_profile_are_reported_at_once() {
    let text = file(
        INJECT,
        r#"  { method = "get", path = "/a", scope = "a:read", effect = "read", purpose = "x" },
  { method = "GET", path = "a", scope = "a:read", effect = "read", purpose = "x" },
  { method = "GET", path = "/a//b", scope = "a:read", effect = "read", purpose = "x" },
  { method = "GET", path = "/a/{x}/{x}", scope = "a:read", effect = "read", purpose = "x" },
  { method = "GET", path = "/a/b{x}", scope = "a:read", effect = "read", purpose = "x" },
  { method = "GET", path = "/a/../b", scope = "a:read", effect = "read", purpose = "x" },
  { method = "GET", path = "/a", scope = "A", effect = "read", purpose = "x" },
  { method = "GET", path = "/a", scope = "a", effect = "see", purpose = "x" },
  { method = "GET", path = "/a", scope = "a", effect = "read", personal_data = ["mail"], purpose = "x" },
  { method = "GET", path = "/a", scope = "a", effect = "read", porpoise = "x" },
  { method = "GET", path = "/ITEMS", scope = "a", effect = "read", purpose = "x" },"#,
    );
    let expected = [
        (8, "method `get` is unknown"),
        (9, "path `a` does not begin with `/`"),
        (10, "path `/a//b` has an empty segment"),
        (11, "path `/a/{x}/{x}` has two parameters `x`"),
        (12, "path `/a/b{x}` has a segment `b{x}`, which is neither a fixed word nor one parameter"),
        (13, "path `/a/../b` has a segment `..`"),
        (14, "scope `A` is no scope name"),
        (15, "effect `see` is unknown"),
        (16, "personal data `mail` is not understood"),
        (
            17,
            "unknown field `porpoise`, expected one of `method`, `path`, `scope`, `effect`, `personal_data`, `purpose`",
        ),
        (18, "`GET /ITEMS` would be found by the same requests as an endpoint above"),
    ];
    assert_eq!(problems(&text), expected.map(|(line, what)| (line, what.to_owned())));
}

#[test]
fn two_templates_that_differ_in_parameter_names_only_are_one() {
    let text = file(
        INJECT,
        r#"  { method = "GET", path = "/items/{a}", scope = "a", effect = "read", purpose = "x" },
  { method = "GET", path = "/items/{b}", scope = "a", effect = "read", purpose = "x" },"#,
    );
    let problem = &parse(&text).unwrap_err()[0];
    assert_eq!((problem.line, &*problem.remedy), (9, "remove one of the two; the other is in line 8"));
}

#[test]
fn a_placement_must_place_the_key_exactly_once() {
    let cases = [
        (
            r#"inject = [{ header = "x-key", template = "Bearer" }]"#,
            "template `Bearer` does not hold `{key}` exactly once",
        ),
        (r#"inject = [{ header = "x key", template = "{key}" }]"#, "`x key` is no header name"),
        (r#"inject = [{ header = "Host", template = "{key}" }]"#, "header `host` belongs to the connection"),
        (r#"inject = [{ fixed = "x-version", value = "2" }]"#, "the key is placed nowhere"),
        (r#"inject = [{ query = "a b" }]"#, "`a b` is no name of a query parameter"),
        (r#"inject = [{ basic = "x" }]"#, "basic form `x` is unknown"),
        (
            r#"inject = [{ header = "x-key", query = "k" }]"#,
            "a placement is exactly one of header + template, query, basic, fixed + value",
        ),
        ("inject = []", "the key is placed nowhere"),
    ];
    for (inject, what) in cases {
        assert_eq!(problems(&file(inject, "")), [(5, what.to_owned())], "{inject}");
    }
}

#[test]
fn several_placements_and_a_strip_list_are_taken_together() {
    let top = r#"strip = ["x-debug"]
inject = [{ basic = "pair" }, { query = "k" }, { header = "x-key", template = "Bearer {key}" }, { fixed = "x-api", value = "2" }]"#;
    let profile = parse(&file(top, "")).unwrap();
    assert_eq!(profile.inject.len(), 4);
    assert_eq!(profile.strip, [http::HeaderName::from_static("x-debug")]);
}

#[test]
fn a_profile_that_is_no_toml_says_where() {
    assert_eq!(problems("name = \n")[0].0, 1);
}
