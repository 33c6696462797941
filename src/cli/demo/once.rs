//! `demo --once`: makes the calls itself, tells what each showed, and judges.

use std::fs;

use http::Method;

use crate::audit::{self, Known, VerifierKey};
use crate::cli::output;
use crate::cli::report::{FAILED, Failure};

use super::Running;
use super::client::{Client, Reply};
use super::place::Place;

/// What was expected of a call, and what came.
struct Step {
    title: &'static str,
    call: String,
    wanted: String,
    seen: String,
    holds: bool,
}

/// Makes the calls, stops the gate, checks the log; exit code 0 when everything was as promised, 1 when not.
pub fn run(running: Running) -> Result<u8, Failure> {
    let mut steps = calls(&running)?;
    let Running { gate, stand_in, place, .. } = running;
    gate.stop()?;
    stand_in.stop();
    steps.push(log(&place));
    steps.iter().try_for_each(|step| output::result(&step.render()))?;
    let failed = steps.iter().filter(|step| !step.holds).count();
    let verdict = if failed == 0 { "all as promised".to_owned() } else { format!("{failed} not as promised") };
    output::result(&format!("{} steps, {verdict}\n", steps.len()))?;
    Ok(if failed == 0 { 0 } else { FAILED })
}

fn calls(running: &Running) -> Result<Vec<Step>, Failure> {
    let ca = fs::read(running.place.ca()).map_err(|error| Failure::new("cannot read the demo's CA").because(error))?;
    let caller = Caller { client: Client::new(running.gate.address(), &ca)?, real: &running.keys.real };
    let (webshop, pim) = (running.keys.webshop.expose(), running.keys.pim.expose());
    let orders = "/api/v2/orders";
    let products = "/api/v2/products";
    let by_query = format!("{orders}?ApiKey={webshop}");
    let mut steps = vec![
        caller.step("`webshop` reads orders", &Method::GET, orders, Some(webshop), 200, None)?,
        caller.step("the key works in the query too", &Method::GET, &by_query, None, 200, None)?.hiding(webshop),
        caller.step(
            "`webshop` may not read products",
            &Method::GET,
            products,
            Some(webshop),
            403,
            Some("endpoint_not_allowed"),
        )?,
        caller.step("`pim` may not read orders", &Method::GET, orders, Some(pim), 403, Some("endpoint_not_allowed"))?,
        caller.step(
            "the real key opens nothing here",
            &Method::GET,
            orders,
            Some(&running.keys.real),
            401,
            Some("key_malformed"),
        )?,
        caller.step(
            "an ambiguous path is refused",
            &Method::GET,
            "/api/v2/%2e%2e/v2/orders",
            Some(webshop),
            400,
            Some(""),
        )?,
    ];
    for _ in 0..3 {
        steps.push(caller.step("`pim` lists products", &Method::GET, products, Some(pim), 200, None)?);
    }
    steps.push(caller.step(
        "the fourth time is one too many",
        &Method::GET,
        products,
        Some(pim),
        429,
        Some("limit_endpoint"),
    )?);
    Ok(steps)
}

struct Caller<'a> {
    client: Client,
    real: &'a str,
}

impl Caller<'_> {
    /// `refusal` is the code the gate must give; an empty one stands for any.
    fn step(
        &self,
        title: &'static str,
        method: &Method,
        target: &str,
        key: Option<&str>,
        status: u16,
        refusal: Option<&str>,
    ) -> Result<Step, Failure> {
        let reply = self.client.call(method.clone(), target, key)?;
        let code = reply.header("keygate-refusal");
        let as_wanted = match refusal {
            None => code.is_none(),
            Some("") => code.is_some(),
            wanted => code == wanted,
        };
        let leaked = reply.holds(self.real);
        let wait = reply.status != 429
            || reply.header("retry-after").and_then(|wait| wait.parse().ok()).is_some_and(|wait: u32| wait > 0);
        let recorded = reply.header("keygate-record").is_some();
        Ok(Step {
            title,
            call: format!("{method} {target}"),
            wanted: refusal
                .filter(|code| !code.is_empty())
                .map_or_else(|| status.to_string(), |code| format!("{status} {code}")),
            seen: describe(&reply, leaked, recorded),
            holds: reply.status == status && as_wanted && !leaked && wait && recorded,
        })
    }
}

fn describe(reply: &Reply, leaked: bool, recorded: bool) -> String {
    let mut text = reply.status.to_string();
    if let Some(code) = reply.header("keygate-refusal") {
        text = format!("{text} {code}");
    }
    if let Some(wait) = reply.header("retry-after") {
        text = format!("{text}, retry after {wait} s");
    }
    text = format!("{text}, {} bytes", reply.body.len());
    let marks = [(leaked, ", THE REAL KEY LEAKED"), (!recorded, ", not on record")];
    marks.iter().filter(|(set, _)| *set).fold(text, |text, (_, mark)| text + mark)
}

/// After the gate has stopped: the log is whole and sealed.
fn log(place: &Place) -> Step {
    let folder = place.audit();
    let key = fs::read_to_string(place.verifier_key()).ok().and_then(|text| VerifierKey::parse(&text).ok());
    let (seen, holds) = match audit::verify(&folder, &Known { key, ..Known::default() }, |_| ()) {
        Ok(report) if report.complete => (format!("intact and complete, {} records", report.records), true),
        Ok(report) => (format!("not intact: {}", report.first_bad.map_or_else(String::new, |bad| bad.what)), false),
        Err(error) => (error.to_string(), false),
    };
    let call = format!("audit verify {}", folder.display());
    Step { title: "the log is intact", call, wanted: "intact and complete".to_owned(), seen, holds }
}

impl Step {
    /// The same with a scoped key cut out of what is shown.
    fn hiding(mut self, key: &str) -> Self {
        self.call = self.call.replace(key, "kg_…");
        self
    }

    fn render(&self) -> String {
        let Self { title, call, wanted, seen, holds } = self;
        let verdict = if *holds { "ok      " } else { "NOT OK  " };
        let missed = if *holds { String::new() } else { format!(" (wanted {wanted})") };
        format!("{verdict}{title}\n        {call}\n        {seen}{missed}\n")
    }
}
