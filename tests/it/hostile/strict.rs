//! The strictest reader of HTTP/1.1 that there can be: it takes a request in one spelling only, so whatever it takes,
//! every other server reads in the same way. What it does not take is named.

/// What an upstream may see of the outside world.
pub struct Rules {
    /// The only `host` there may be.
    pub host: String,
    /// The only `x-ce-key` there may be.
    pub key: String,
}

/// A request in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method, upper case.
    pub method: String,
    /// Target, in origin form.
    pub target: String,
    /// Fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body as it was framed: one piece behind a length, or its chunks.
    pub body: Body,
}

/// How a body was framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Neither a length nor chunks.
    None,
    /// Behind `content-length`.
    Length(Vec<u8>),
    /// Chunks without extensions or trailers.
    Chunks(Vec<Vec<u8>>),
}

/// What the bytes at hand are.
#[derive(Debug)]
pub enum Read {
    /// A whole request, and how many bytes it took.
    Whole(Box<Request>, usize),
    /// The beginning of one.
    More,
    /// Not the one spelling; why.
    Wrong(String),
}

/// Fields that end at a gate: they speak of one connection, or make a request mean another one.
const ENDING: [&str; 17] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "expect",
    "authorization",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "content_length",
    "transfer_encoding",
];
/// Fields that a lax server could take for another one when `_` and `-` are the same to it.
const FOLDED: [&str; 7] =
    ["content-length", "transfer-encoding", "host", "x-ce-key", "authorization", "connection", "x-original-url"];

impl Request {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body without its framing.
    pub fn content(&self) -> Vec<u8> {
        match &self.body {
            Body::None => Vec::new(),
            Body::Length(bytes) => bytes.clone(),
            Body::Chunks(chunks) => chunks.concat(),
        }
    }

    /// The one spelling.
    pub fn spelt(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            out.extend(format!("{name}: {value}\r\n").bytes());
        }
        out.extend(b"\r\n");
        match &self.body {
            Body::None => {}
            Body::Length(bytes) => out.extend(bytes),
            Body::Chunks(chunks) => {
                for chunk in chunks {
                    out.extend(format!("{:X}\r\n", chunk.len()).bytes());
                    out.extend(chunk);
                    out.extend(b"\r\n");
                }
                out.extend(b"0\r\n\r\n");
            }
        }
        out
    }
}

/// Reads one request from the beginning of `bytes`.
pub fn read(bytes: &[u8], rules: &Rules) -> Read {
    match try_read(bytes, rules) {
        Ok(Some((request, taken))) => Read::Whole(Box::new(request), taken),
        Ok(None) => Read::More,
        Err(why) => Read::Wrong(why),
    }
}

fn try_read(bytes: &[u8], rules: &Rules) -> Result<Option<(Request, usize)>, String> {
    if bytes.first().is_some_and(|b| !b.is_ascii_uppercase()) {
        return Err("does not begin with a method".into());
    }
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "the head is no UTF-8")?;
    let mut lines = head.split("\r\n");
    let (method, target) = first_line(lines.next().unwrap_or_default())?;
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    judge(&fields, rules)?;
    let Some((body, taken)) = body(&bytes[end + 4..], &fields)? else { return Ok(None) };
    Ok(Some((Request { method, target, fields, body }, end + 4 + taken)))
}

fn first_line(line: &str) -> Result<(String, String), String> {
    let parts: Vec<_> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("the first line is `{line}`")) };
    if !method.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(format!("the method is `{method}`"));
    }
    let path = target.split('?').next().unwrap_or_default();
    let odd = |b: u8| !b.is_ascii_graphic() || b"\\;#\"<>^`{}".contains(&b);
    let segments = path.strip_prefix('/').map(|rest| rest.split('/').collect::<Vec<_>>()).unwrap_or_default();
    let bad = |segment: &&str| ["", ".", ".."].contains(segment) || segment.to_ascii_lowercase().contains("%2e");
    if segments.is_empty() || segments.iter().any(bad) || target.bytes().any(odd) {
        return Err(format!("the target is `{target}`"));
    }
    Ok((method.to_owned(), target.to_owned()))
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(": ").ok_or_else(|| format!("a field is `{}`", line.escape_debug()))?;
    let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("a field's name is `{}`", name.escape_debug()));
    }
    let printable = value.chars().all(|c| !c.is_control()) && value.trim() == value;
    if !printable {
        return Err(format!("the value of `{name}` is `{}`", value.escape_debug()));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn judge(fields: &[(String, String)], rules: &Rules) -> Result<(), String> {
    let all = |name: &str| fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
    if let Some((name, _)) = fields.iter().find(|(name, _)| ENDING.contains(&name.as_str())) {
        return Err(format!("`{name}` should have ended at the gate"));
    }
    let folded = |name: &str| name.contains('_') && FOLDED.contains(&name.replace('_', "-").as_str());
    if let Some((name, _)) = fields.iter().find(|(name, _)| folded(name)) {
        return Err(format!("`{name}` could be taken for another field"));
    }
    if all("host") != [rules.host.as_str()] {
        return Err(format!("`host` is {:?}", all("host")));
    }
    if all("x-ce-key") != [rules.key.as_str()] {
        return Err(format!("`x-ce-key` came {} times, or is not the real key", all("x-ce-key").len()));
    }
    match (all("content-length")[..].len(), all("transfer-encoding")[..].len()) {
        (0 | 1, 0) | (0, 1) => Ok(()),
        (lengths, codings) => Err(format!("{lengths} lengths and {codings} transfer codings")),
    }
}

fn body(bytes: &[u8], fields: &[(String, String)]) -> Result<Option<(Body, usize)>, String> {
    let find = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    match (find("content-length"), find("transfer-encoding")) {
        (None, None) => Ok(Some((Body::None, 0))),
        (Some(text), _) => {
            let length: usize = text.parse().ok().filter(|n: &usize| n.to_string() == text).ok_or("no plain length")?;
            Ok(bytes.get(..length).map(|body| (Body::Length(body.to_vec()), length)))
        }
        (None, Some("chunked")) => chunks(bytes),
        (None, Some(other)) => Err(format!("the transfer coding is `{other}`")),
    }
}

fn chunks(bytes: &[u8]) -> Result<Option<(Body, usize)>, String> {
    let (mut at, mut all) = (0, Vec::new());
    loop {
        let Some(end) = memchr::memmem::find(&bytes[at..], b"\r\n") else {
            // Of an unfinished line only hex digits and one CR may be there.
            let fine = bytes[at..].iter().all(|b| b.is_ascii_hexdigit() || *b == b'\r');
            return if fine { Ok(None) } else { Err("no chunk size".into()) };
        };
        let line = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "no chunk size")?;
        let size = usize::from_str_radix(line, 16).ok().filter(|n| format!("{n:X}") == line);
        let size = size.ok_or_else(|| format!("a chunk size is `{}`", line.escape_debug()))?;
        at += end + 2;
        let Some(chunk) = bytes.get(at..at.saturating_add(size)) else { return Ok(None) };
        let Some(close) = bytes.get(at + size..at + size + 2) else { return Ok(None) };
        if close != b"\r\n" {
            return Err("no CRLF where the chunk ends".into());
        }
        at += size + 2;
        if size == 0 {
            return Ok(Some((Body::Chunks(all), at)));
        }
        all.push(chunk.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        Rules { host: "localhost:1".into(), key: "k".into() }
    }

    fn is_wrong(bytes: &[u8]) -> bool {
        matches!(read(bytes, &rules()), Read::Wrong(_))
    }

    const HEAD: &str = "POST /a HTTP/1.1\r\nhost: localhost:1\r\nx-ce-key: k\r\n";

    #[test]
    fn one_plain_request_is_taken() {
        for rest in ["\r\n", "content-length: 2\r\n\r\nhi", "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"] {
            let whole = format!("{HEAD}{rest}");
            let Read::Whole(request, taken) = read(whole.as_bytes(), &rules()) else { panic!("{whole}") };
            assert_eq!((taken, request.spelt()), (whole.len(), whole.clone().into_bytes()));
            let cut = &whole.as_bytes()[..whole.len() - 1];
            assert!(matches!(read(cut, &rules()), Read::More), "a cut request is no whole one: {whole}");
        }
    }

    #[test]
    fn smuggled_fields_are_noticed() {
        for fields in [
            "content-length: 2\r\ntransfer-encoding: chunked\r\n",
            "content-length: 2\r\ncontent-length: 2\r\n",
            "content-length: +2\r\n",
            "content-length: 02\r\n",
            "content-length: 2, 2\r\n",
            "content-length: 0x2\r\n",
            "content-length : 2\r\n",
            "content-length:2\r\n",
            "content_length: 2\r\n",
            "Content-Length: 2\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: Chunked\r\n",
            "transfer-encoding: \u{b}chunked\r\n",
            "transfer-encoding:\tchunked\r\n",
            "x-a: b\r\n c\r\n",
            "x-a: b\n\r\n",
            "x-a: b\rc\r\n",
            "x-a: b\0c\r\n",
            ": b\r\n",
            "host: localhost:1\r\n",
            "x-ce-key: k\r\n",
            "x_ce_key: k\r\n",
            "connection: close\r\n",
            "expect: 100-continue\r\n",
            "upgrade: h2c\r\n",
        ] {
            assert!(is_wrong(format!("{HEAD}{fields}\r\n").as_bytes()), "{fields}");
        }
    }

    #[test]
    fn smuggled_lines_are_noticed() {
        for line in [
            "GET  /a HTTP/1.1",
            "GET /a HTTP/1.0",
            "GET /a",
            "get /a HTTP/1.1",
            "GET https://b/a HTTP/1.1",
            "GET /a/../b HTTP/1.1",
            "GET /a/%2e%2e HTTP/1.1",
            "GET //a HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "\r\nGET /a HTTP/1.1",
        ] {
            let bytes = HEAD.replace("POST /a HTTP/1.1", line) + "\r\n";
            assert!(is_wrong(bytes.as_bytes()), "{line}");
        }
    }

    #[test]
    fn smuggled_chunks_are_noticed() {
        for chunks in [
            "2;a=b\r\nhi\r\n0\r\n\r\n",
            "02\r\nhi\r\n0\r\n\r\n",
            "2\r\nhi0\r\n\r\n",
            "2\nhi\r\n0\r\n\r\n",
            "0x2\r\nhi\r\n0\r\n\r\n",
            "2\r\nhi\r\n0\r\nx-a: b\r\n\r\n",
            "-1\r\n\r\n",
            " 2\r\nhi\r\n0\r\n\r\n",
        ] {
            let bytes = format!("{HEAD}transfer-encoding: chunked\r\n\r\n{chunks}");
            assert!(is_wrong(bytes.as_bytes()), "{chunks}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_has_one_spelling(pieces in proptest::collection::vec(proptest::sample::select(&[
            HEAD, "content-length: 2\r\n", "transfer-encoding: chunked\r\n", "\r\n", "hi", "2\r\n", "0\r\n", "x-a: b\r\n",
            "\n", "\r", " ", "\t", "X-A: b\r\n", "0", ";x", "\u{b}", "GET ", "/a ", "HTTP/1.1\r\n",
        ][..]), 1..9)) {
            let bytes = format!("{HEAD}{}", pieces.concat()).into_bytes();
            if let Read::Whole(request, taken) = read(&bytes, &rules()) {
                prop_assert_eq!(&request.spelt()[..], &bytes[..taken]);
            }
        }
    }
}
