//! The configuration that `keygate init` writes: `config/minimal.toml` with the names filled in, so that the file in
//! the repository and what users get cannot drift apart.

/// The text of `config/minimal.toml`.
const TEMPLATE: &str = include_str!("../../config/minimal.toml");

/// What stands in the template.
const NAME: &str = "acme";
const BASE_URL: &str = "https://acme.channelengine.net/api";
const PROFILE: &str = "channelengine";
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// The first configuration of a fresh folder, for one upstream and no integration yet. The arguments must be good
/// already ([`super::base_url`], a name of letters, digits, `-`, `_`, `.`, a known profile, an age recipient): they are put in
/// as they are.
pub fn minimal(upstream_name: &str, base_url: &str, profile: &str, recipient: &str) -> String {
    // Marks first, so that nothing put in is looked at again: a tenant called `acme` keeps its URL.
    let marked = TEMPLATE.replace(RECIPIENT, recipient);
    let marked = marked.replace(BASE_URL, "\u{1}").replace(PROFILE, "\u{2}").replace(NAME, "\u{3}");
    let text = marked.replace('\u{1}', base_url).replace('\u{2}', profile).replace('\u{3}', upstream_name);
    if profile == PROFILE {
        return text;
    }
    // The limit is ChannelEngine's.
    text.split_inclusive('\n').filter(|line| !line.starts_with("limit = ")).collect()
}
