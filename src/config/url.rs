//! Where things are: listen address, base URL, fixed addresses, the admin socket.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::{BaseUrl, Wrong};

const BASE_URL_FORM: &str =
    "write `https://TENANT.channelengine.net/api`: scheme, host, perhaps a port, perhaps a path";

/// Reads `127.0.0.1:8443`, `[::1]:8443`.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let what = format!("`{text}` is no IP address with a port");
        let remedy = if text.parse::<IpAddr>().is_ok() {
            "add the port: `127.0.0.1:8443`; an IPv6 address goes in brackets: `[::1]:8443`".to_owned()
        } else if let Some(port) = text.strip_prefix("localhost:") {
            format!("names are not looked up here: write `127.0.0.1:{port}` or `[::1]:{port}`")
        } else if text.starts_with(':') {
            format!("write which address: `127.0.0.1{text}` for this machine only, `0.0.0.0{text}` for every interface")
        } else {
            "write `127.0.0.1:8443` for this machine only, `0.0.0.0:8443` for every interface".to_owned()
        };
        Wrong::new(what, remedy)
    })
}

/// Reads the base URL of an upstream. What it says of a refused one never repeats user, password or query.
pub fn base_url(text: &str) -> Result<BaseUrl, Wrong> {
    let bad = |why: &str, remedy: &str| Err(Wrong::new(format!("the base URL {why}"), remedy));
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
            return bad("is plain http", "write `https`: the real key never travels unencrypted, not even on loopback");
        }
        Some(_) => return bad("has another scheme than https", BASE_URL_FORM),
        None => return bad("does not begin with `https://`", BASE_URL_FORM),
    };
    if rest.contains(['?', '#']) {
        let remedy = "end it with the path; the key belongs into the vault: `keygate credential put`";
        return bad("has a query or a fragment", remedy);
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    if authority.contains('@') {
        return bad("holds a user or a password", "take out what stands before `@`; credentials belong into the vault");
    }
    let (host, port) = host_and_port(authority)?;
    Ok(BaseUrl { host, port, path: base_path(path)? })
}

fn host_and_port(authority: &str) -> Result<(String, u16), Wrong> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = port.map_or(Ok(443), str::parse).ok().filter(|port| *port != 0).ok_or_else(|| {
        Wrong::new("the base URL's port is no number from 1 to 65535", "leave it out for 443, or write `:8443`")
    })?;
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let wrong = |_| Wrong::new(format!("`{host}` is no IPv6 address"), "write it like `https://[::1]:8443/api`");
        return Ok((inner.parse::<Ipv6Addr>().map_err(wrong)?.to_string(), port));
    }
    if is_host_name(host) {
        return Ok((host.to_ascii_lowercase(), port));
    }
    let remedy = "letters, digits, `-` and `.`; write other letters in their `xn--` form";
    Err(Wrong::new(format!("`{host}` is no host name"), remedy))
}

/// Labels of letters, digits and inner hyphens; an IPv4 address is one of these. Names that end in a number must be a
/// whole IPv4 address, as everywhere on the web.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let ends_in_number = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    host.len() <= 253 && host.split('.').all(label) && (!ends_in_number || host.parse::<std::net::Ipv4Addr>().is_ok())
}

/// The path without a trailing slash; nothing in it that could be read in two ways.
fn base_path(path: &str) -> Result<String, Wrong> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment = |text: &str| !["", ".", ".."].contains(&text) && text.bytes().all(plain);
    if path.is_empty() || path[1..].split('/').all(segment) {
        return Ok(path.to_owned());
    }
    let remedy = "plain words (letters, digits, `-._~`) separated by single `/`: `/api`";
    Err(Wrong::new(format!("the base URL's path `{path}` is ambiguous"), remedy))
}

/// Reads `192.0.2.7`, `192.0.2.7:8443`, `2001:db8::7`, `[2001:db8::7]:8443`; the port is the base URL's when left out.
pub(super) fn fixed_address(text: &str, port: u16) -> Result<SocketAddr, Wrong> {
    let address = text.parse::<SocketAddr>().ok();
    let bare = || text.trim_matches(['[', ']']).parse().ok().map(|ip| SocketAddr::new(ip, port));
    address.or_else(bare).filter(|address| address.port() != 0).ok_or_else(|| {
        let remedy = "write `192.0.2.7` or `192.0.2.7:8443`; names belong into `base_url`, where DNS is asked";
        Wrong::new(format!("`{text}` is no IP address"), remedy)
    })
}

/// Reads `unix:PATH`; `off` is `None`. `join` adds the configuration's folder.
pub(super) fn admin_address(
    text: &str,
    join: impl FnOnce(&str) -> Result<PathBuf, Wrong>,
) -> Result<Option<PathBuf>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return join(path).map(Some);
    }
    let remedy = "write `unix:admin.sock`: health and metrics are plain HTTP, which Keygate offers on no network port; \
                  the file's permissions say who may ask";
    Err(Wrong::new(format!("`{text}` is no Unix socket"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_read_in_one_way() {
        let shown = |text| base_url(text).unwrap().to_string();
        assert_eq!(shown("https://acme.channelengine.net/api"), "https://acme.channelengine.net/api");
        assert_eq!(shown("HTTPS://ACME.channelengine.net:443/api/"), "https://acme.channelengine.net/api");
        assert_eq!(shown("https://localhost:8444"), "https://localhost:8444");
        assert_eq!(shown("https://[0:0::1]:8444/Api/v1"), "https://[::1]:8444/Api/v1");
        assert_eq!(shown("https://127.0.0.1/"), "https://127.0.0.1");
    }

    #[test]
    fn everything_else_is_no_base_url_and_secrets_in_it_are_not_repeated() {
        for bad in [
            "",
            "https://",
            "acme.channelengine.net/api",
            "http://acme.channelengine.net/api",
            "ftp://a/",
            "https:///api",
            "https://u:SECRET@a/api",
            "https://a/api?apikey=SECRET",
            "https://a/api#SECRET",
            "https://a:0/",
            "https://a:99999/",
            "https://a:/",
            "https://a b/",
            "https://a/b//c",
            "https://a/../b",
            "https://a/b%2Fc",
            "https://-a/",
            "https://a..b/",
            "https://[::g]/",
            "https://1.2.3/",
            "https://bücher.example/",
            "https://a\\b/",
            "https://a/b\n",
        ] {
            let wrong = base_url(bad).expect_err(bad);
            assert!(!format!("{} {}", wrong.what, wrong.remedy).contains("SECRET"), "{bad}");
        }
    }

    #[test]
    fn fixed_addresses_take_the_base_urls_port_when_they_have_none() {
        let shown = |text| fixed_address(text, 443).unwrap().to_string();
        assert_eq!(shown("192.0.2.7"), "192.0.2.7:443");
        assert_eq!(shown("192.0.2.7:8443"), "192.0.2.7:8443");
        assert_eq!(shown("2001:db8::7"), "[2001:db8::7]:443");
        assert_eq!(shown("[2001:db8::7]"), "[2001:db8::7]:443");
        assert!(fixed_address("localhost", 443).is_err());
    }
}
