//! What the demo prints when it is ready: for people with commands to copy, for scripts as one JSON object.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::cli::output::{self, quoted, quoted_path};
use crate::cli::report::Failure;

use super::Running;

/// One JSON object on one line.
pub fn as_json(running: &Running) -> Result<(), Failure> {
    output::json(&json!({
        "base_url": running.base_url(),
        "ca": running.place.ca(),
        "keys": { "webshop": running.keys.webshop.expose(), "pim": running.keys.pim.expose() },
        "config": running.place.config(),
        "audit": running.place.audit(),
        "stand_in": running.stand_in.address().to_string(),
        "pid": std::process::id(),
    }))
}

/// The commands work from any folder and in any POSIX shell.
pub fn for_people(running: &Running, took: Duration) -> Result<(), Failure> {
    let (webshop, pim) = (running.keys.webshop.expose(), running.keys.pim.expose());
    let base = running.base_url();
    let ca = quoted_path(&running.place.ca());
    let curl = |key: &str, rest: &str| format!("curl -sS --cacert {ca} -H 'X-CE-KEY: {key}' {rest}");
    let allowed = curl(webshop, &format!("'{base}/v2/orders'"));
    let refused = curl(webshop, &format!("-i '{base}/v2/products'"));
    let often = curl(pim, &format!("-o /dev/null -w '%{{http_code}}\\n' '{base}/v2/products'"));
    let keygate = std::env::current_exe().map_or_else(|_| "keygate".to_owned(), |path| path.display().to_string());
    let audit = format!("{} --config {} audit", quoted(&keygate), quoted_path(&running.place.config()));
    output::result(&format!(
        "Keygate demo, ready after {} ms\n\n  \
         base URL  {base}\n  \
         CA        {}\n  \
         webshop   {webshop}   orders and shipments\n  \
         pim       {pim}   products, offers, stock; lists products 3 times a minute\n\n\
         Behind it: a stand-in merchant API on {}, whose real key only the vault holds.\n\n\
         an allowed call:\n  {allowed}\n\
         a call to an endpoint not allowed:\n  {refused}\n\
         into the rate limit:\n  for i in 1 2 3 4 5; do {often}; done\n\
         the record of it all:\n  {audit} tail -n 10\n  {audit} verify\n\n\
         Ctrl-C stops it.\n",
        took.as_millis(),
        shown(&running.place.ca()),
        running.stand_in.address(),
    ))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
