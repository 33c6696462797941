//! What it costs to decide a call: from the head to the ticket, without I/O.

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use keygate::config::{Config, check};
use keygate::limit::Memory;
use keygate::live::Live;
use keygate::metrics::Metrics;
use keygate::policy::scoped_key::{self, ScopedKey};
use keygate::profile::builtin;

/// Calls in a round; the fastest round is told, which is the one that nothing else on the machine disturbed.
const CALLS: usize = 2_000;
const ROUNDS: usize = 400;

/// A world to decide in, and a request of each integration.
pub struct World {
    config: Config,
    keys: Vec<String>,
    target: String,
}

impl World {
    /// This many integrations of the built-in profile.
    pub fn of_integrations(count: usize) -> Self {
        let upstream = upstream("channelengine");
        Self::new(upstream, count, r#""orders:read", "documents:read""#, "", "/api/v2/orders/SO-1/invoice")
    }

    /// Ten integrations of a profile with this many endpoints.
    fn of_endpoints(count: usize) -> Self {
        let mut profile = String::from(
            "name = \"large\"\ntitle = \"large\"\nenvelope = \"problem\"\nslots = { headers = [\"x-ce-key\"], queries = [\"apikey\"] }\n\
             inject = [{ header = \"x-ce-key\", template = \"{key}\" }]\nendpoints = [\n",
        );
        for n in 0..count {
            let _ = writeln!(
                profile,
                "{{ method = \"GET\", path = \"/v2/resource-{n}/{{no}}/part\", scope = \"all:read\", effect = \"read\", purpose = \"p\" }},"
            );
        }
        profile.push(']');
        let target = format!("/api/v2/resource-{}/SO-1/part", count / 2);
        Self::new(upstream("large.toml"), 10, r#""all:read""#, &profile, &target)
    }

    fn new(mut text: String, count: usize, allow: &str, profile: &str, target: &str) -> Self {
        let keys: Vec<ScopedKey> = (0..count).map(key).collect();
        let channelengine = builtin("channelengine").unwrap();
        let mut scopes = channelengine.scopes();
        scopes.retain(|scope| !allow.contains(scope));
        let extra = |n: usize| if profile.is_empty() { some_scopes(&scopes, n) } else { String::new() };
        for (n, key) in keys.iter().enumerate() {
            let _ = writeln!(
                text,
                "[integration.it-{n}]\nupstream = \"acme\"\nkey_sha256 = \"{}\"\nallow = [{allow}{}]\nlimit = \"1000000000/s\"",
                hex(&key.sha256()),
                extra(n)
            );
        }
        let read = |_: &Path| Ok(profile.to_owned());
        let config =
            check(&text, "keygate.toml", Path::new("."), &read).unwrap_or_else(|problems| panic!("{problems}"));
        let keys = keys.iter().map(|key| key.expose().to_owned()).collect();
        Self { config, keys, target: target.to_owned() }
    }
}

/// Three scopes more, another choice for almost every integration: rules that all share would be near all the time.
fn some_scopes(scopes: &[&str], n: usize) -> String {
    let count = scopes.len();
    let (a, b, c) = (n % count, n / count % count, n / count / count % count);
    let mut chosen = vec![a, (a + 1 + b) % count, (a + 2 + b + c) % count];
    chosen.sort_unstable();
    chosen.dedup();
    chosen.iter().fold(String::new(), |text, n| format!("{text}, \"{}\"", scopes[*n]))
}

fn upstream(profile: &str) -> String {
    format!(
        "[upstream.acme]\nprofile = \"{profile}\"\nbase_url = \"https://acme.example/api\"\ncredential = \"acme\"\nlimit = \"1000000000/s\"\n"
    )
}

/// Spread over all bytes, the same in every run.
fn key(n: usize) -> ScopedKey {
    ScopedKey::from_random(scoped_key::sha256(&n.to_le_bytes()))
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A head as it comes from the parser: fresh, and therefore near at hand. All share one map, only the key is another; a
/// map for each integration would be measured too.
struct Head {
    map: HeaderMap,
    keys: Vec<HeaderValue>,
}

impl Head {
    fn new(world: &World) -> Self {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, HeaderValue::from_static("gate.example:8443"));
        map.insert(header::USER_AGENT, HeaderValue::from_static("shop/1.0"));
        map.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        map.insert("x-ce-key", HeaderValue::from_static(""));
        Self { map, keys: world.keys.iter().map(|key| HeaderValue::from_str(key).unwrap()).collect() }
    }

    /// The head of another integration's call. The key is read once here, so that it is near.
    fn of(&mut self, n: usize) -> &HeaderMap {
        let key = &self.keys[n % self.keys.len()];
        if let Some(place) = self.map.get_mut("x-ce-key") {
            place.clone_from(key);
        }
        black_box(key.as_bytes().iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
        &self.map
    }
}

/// The time of one turn, ns. Turns get numbers that jump about, so that the next integration is not the one that the
/// processor expects.
fn measure<T>(mut turn: impl FnMut(usize) -> T) -> f64 {
    let round = |round: usize| {
        let began = Instant::now();
        for n in 0..CALLS {
            black_box(turn((round * CALLS + n).wrapping_mul(7919)));
        }
        began.elapsed().as_nanos() as f64 / CALLS as f64
    };
    (0..ROUNDS).map(round).min_by(f64::total_cmp).unwrap_or(f64::NAN)
}

/// What the steps cost, ns: the whole, its parts, and the whole where nothing of the integration is near.
fn steps(world: &World) -> Vec<f64> {
    let live = Live::new(&world.config, &Metrics::default(), |buckets| Box::new(Memory::new(buckets)));
    let (policy, limits) = (&live.policy, &live.limits);
    let (mut head, now, target) = (Head::new(world), Timestamp::now(), world.target.as_str());
    let moment = Instant::now();
    let identify = |head: &HeaderMap| {
        policy.identify(head, &policy.query(None).unwrap(), now).unwrap_or_else(|_| unreachable!("a known key"))
    };
    let decide = |head: &HeaderMap| {
        let client = identify(head);
        let call = policy.read(&client, &Method::GET, target, policy.query(None).unwrap()).unwrap();
        let permit = policy.authorise(&client, &call).unwrap_or_else(|_| unreachable!("an allowed call"));
        limits.take(&permit, moment).unwrap().left()
    };
    let far_head = measure(|n| head.of(n).len());
    let far = measure(|n| decide(head.of(n))) - far_head;
    let near_head = measure(|_| head.of(0).len());
    let near = measure(|_| decide(head.of(0))) - near_head;
    let identified = measure(|_| identify(head.of(0))) - near_head;
    let client = identify(head.of(0));
    let read = || policy.read(&client, &Method::GET, target, policy.query(None).unwrap()).unwrap();
    let call = read();
    let permit = policy.authorise(&client, &call).unwrap_or_else(|_| unreachable!("an allowed call"));
    vec![
        near,
        identified,
        measure(|_| read()),
        measure(|_| policy.authorise(&client, &call).is_ok()),
        measure(|_| limits.take(&permit, moment).unwrap().left()),
        far,
    ]
}

/// Prints the table.
pub fn run() {
    println!("\n### Deciding one call, ns\n");
    println!("| | whole | identify | read and match | authorise | limits | whole, each call by another integration |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for count in [10, 100, 1_000, 10_000] {
        row(&format!("{count} integrations, 107 endpoints"), &steps(&World::of_integrations(count)));
    }
    for count in [107, 1_000, 5_000] {
        row(&format!("10 integrations, {count} endpoints"), &steps(&World::of_endpoints(count)));
    }
    let key = key(1);
    let text = key.expose().as_bytes();
    let checksum = measure(|_| scoped_key::check(black_box(text)).is_ok());
    let sha256 = measure(|_| scoped_key::sha256(black_box(text)));
    let clocks = measure(|_| (Timestamp::now(), Instant::now()));
    println!(
        "\nThe SHA-256 of the key is {sha256:.0} ns of `identify`. Not in it: the two clocks, which are read when the call's record \
         begins, {clocks:.0} ns, and the checksum of a key that nobody has {checksum:.0} ns."
    );
}

fn row(name: &str, steps: &[f64]) {
    let mut line = format!("| {name} |");
    for ns in steps {
        let _ = write!(line, " {ns:.0} |");
    }
    println!("{line}");
}
