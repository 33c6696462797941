//! Exports of a real gate's log, read back by the tools that others read them with: `DuckDB`, an S3 server, the published
//! schemas.

pub mod tools;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use keygate::audit::{self, Disk, Kind, Log, Record, SigningKey};
use keygate::config::Durability;
use serde_json::Value;

use crate::harness::command::{Ran, keygate, run};
use crate::harness::{Merchant, Proxy, until};
use tools::{Bucket, check};

/// A gate that served calls of all kinds and stopped.
fn served() -> Proxy {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    for page in 0..20 {
        client.get(&format!("/v2/orders?page={page}"));
    }
    client.send("POST", "/v2/shipments", &serde_json::json!({}));
    client.get("/v2/settlements");
    client.get("/v2/orders?merchantOrderNos==1%2B1");
    proxy.anonymous().get("/v2/orders");
    proxy.stop();
    proxy
}

fn export(proxy: &Proxy, args: &[&str]) -> Ran {
    run(exporting(proxy, args), b"")
}

fn exporting(proxy: &Proxy, args: &[&str]) -> Command {
    let mut command = keygate(&["--config", proxy.config().to_str().unwrap(), "audit", "export"]);
    command.args(args).current_dir(proxy.directory());
    command
}

fn manifest(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn duckdb_reads_the_parquet_files_of_each_day_and_finds_every_record() {
    let proxy = served();
    export(&proxy, &["--format", "parquet", "--to", "lake/"]).ok();
    let lake = proxy.directory().join("lake");
    let manifest = manifest(&lake.join("manifest.json"));
    let name = manifest["files"][0]["name"].as_str().unwrap();
    assert!(name.starts_with("day=20") && name.ends_with("/part-00000000.parquet"), "{name}");
    let Some(read) = check(&["parquet", lake.to_str().unwrap()]) else { return };
    let lines = proxy.audit().lines();
    assert_eq!(read["count"], lines.len());
    assert_eq!(read["columns"]["time"], "TIMESTAMP WITH TIME ZONE");
    assert_eq!(read["columns"]["status"], "BIGINT");
    for (row, line) in read["rows"].as_array().unwrap().iter().zip(&lines) {
        let field = |name: &str| line.0.get(name).cloned().unwrap_or(Value::Null);
        let expected = ["seq", "id", "status", "endpoint", "entry"].map(field);
        assert_eq!(row.as_array().unwrap()[..5], expected, "{}", line.0);
        assert_eq!(row[5], true, "a record stands under another day");
    }
}

#[test]
fn a_spreadsheet_gets_every_record_and_no_formula() {
    let proxy = served();
    export(&proxy, &["--format", "csv", "--to", "all.csv"]).ok();
    let Some(read) = check(&["csv", proxy.directory().join("all.csv").to_str().unwrap()]) else { return };
    let (rows, lines) = (read.as_array().unwrap(), proxy.audit().lines());
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.iter().zip(&lines) {
        assert_eq!(row["id"], line.text("id"));
        assert_eq!(row["seq"], line.number("seq").to_string());
        let formula = |value: &Value| value.as_str().unwrap().starts_with(['=', '+', '-', '@']);
        assert!(!row.as_object().unwrap().values().any(formula), "{row}");
    }
}

#[test]
fn events_and_documents_are_those_of_the_published_schemas() {
    let proxy = served();
    export(&proxy, &["--format", "ocsf", "--to", "ocsf.jsonl"]).ok();
    export(&proxy, &["--format", "ecs", "--to", "ecs.jsonl"]).ok();
    let place = |name: &str| proxy.directory().join(name).to_str().unwrap().to_owned();
    let Some(events) = check(&["ocsf", &place("ocsf.jsonl")]) else { return };
    assert_eq!(events["count"], proxy.audit().of_kind("call").len());
    let fields = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/exports/ecs-9.4.0.json");
    let documents = check(&["ecs", &place("ecs.jsonl"), fields]).unwrap();
    assert_eq!(documents["count"], proxy.audit().lines().len());
    let left = manifest(&proxy.directory().join("ocsf.jsonl.manifest.json"));
    let calls = proxy.audit().of_kind("call").len();
    assert_eq!(left["records"]["left_out"], proxy.audit().lines().len() - calls);
}

/// Adds so many records to the log of a gate that has stopped.
fn lengthen(proxy: &Proxy, records: u64) {
    let key = fs::read_to_string(proxy.config().with_file_name("audit-signing.key")).unwrap();
    let key = Arc::new(SigningKey::parse(&key).unwrap());
    let disk = Disk { segment_size: 8 << 20, durability: Durability::Os };
    let (sink, resume, _) = audit::open(proxy.audit().directory(), disk, key, Arc::default()).unwrap();
    let log = Log::start(Box::new(sink), resume).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..records {
        let mut record = Record::new(Kind::Call, jiff::Timestamp::now());
        record.integration = Some(format!("integration-{}", n % 7).into());
        let pending = log.append(&record);
        if n % 1000 == 999 {
            runtime.block_on(pending).unwrap();
        }
    }
    log.seal().unwrap();
}

#[test]
fn an_export_that_is_killed_while_it_runs_goes_on_and_has_every_record_once() {
    let proxy = served();
    // More than two steps of an export.
    lengthen(&proxy, 160_000);
    for (format, to, begun) in [("jsonl", "all.jsonl", ".all.jsonl.export.json"), ("csv", "lake/", "lake/.export.json")]
    {
        let place = |name: &str| proxy.directory().join(name);
        let args = ["--format", format, "--to", to];
        // How far it has come, as it notes it itself.
        let next = || -> u64 {
            let text = fs::read(place(begun)).unwrap_or_default();
            serde_json::from_slice(&text).map_or(0, |noted: Value| noted["next"].as_u64().unwrap())
        };
        let partial = || fs::metadata(place(".all.jsonl.partial")).map_or(0, |facts| facts.len());
        let moments: [&dyn Fn() -> bool; 4] =
            [&|| place(begun).exists(), &|| partial() > 0 || next() > 0, &|| next() >= 65_536, &|| next() >= 131_072];
        for moment in moments {
            let mut command = exporting(&proxy, &args);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            until("that moment of the export", || moment().then_some(()));
            child.kill().unwrap();
            let killed = child.wait().unwrap().code().is_none();
            assert!(killed, "it was at its end before it could be killed");
        }
        export(&proxy, &args).ok();
        assert!(!place(begun).exists());
        let manifest_file =
            if to.ends_with('/') { format!("{to}manifest.json") } else { format!("{to}.manifest.json") };
        export(&proxy, &["--verify", &manifest_file]).ok();
        let manifest = manifest(&place(&manifest_file));
        let below = manifest["looked_through"]["below"].as_u64().unwrap();
        assert_eq!(manifest["records"]["count"], below);
        let folder = if place(to).is_dir() { place(to) } else { proxy.directory().clone() };
        let files = manifest["files"].as_array().unwrap();
        let text: String =
            files.iter().map(|file| fs::read_to_string(folder.join(file["name"].as_str().unwrap())).unwrap()).collect();
        let entries: BTreeSet<&str> = match format {
            "jsonl" => text.lines().map(|line| &line[line.len() - 46..]).collect(),
            _ => text.lines().filter(|line| !line.starts_with("seq,")).collect(),
        };
        assert_eq!(entries.len() as u64, below, "a record is missing or twice, as {format}");
        assert_eq!(text.lines().count() as u64, below + files.len() as u64 * u64::from(format == "csv"));
    }
}

#[test]
fn an_export_is_evidence_that_shows_when_it_was_changed() {
    let proxy = served();
    let made = export(&proxy, &["--format", "jsonl", "--to", "all.jsonl"]).ok();
    assert!(made.contains("manifest: all.jsonl.manifest.json"), "{made}");
    let verify = || export(&proxy, &["--verify", "all.jsonl.manifest.json"]);
    assert!(verify().ok().starts_with("as it was made: "));
    let path = proxy.directory().join("all.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replacen("orders", "orderz", 1)).unwrap();
    let ran = verify();
    assert!(ran.code == Some(1) && ran.stderr.contains("`all.jsonl` was changed"), "{ran}");
    fs::write(&path, whole).unwrap();
    let manifest = proxy.directory().join("all.jsonl.manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("keygate/", "keygate/0", 1)).unwrap();
    let ran = verify();
    assert!(ran.code == Some(1) && ran.stderr.contains("its checkpoint"), "{ran}");
}

#[test]
fn a_bucket_gets_parts_and_manifest_over_tls_and_a_second_run_writes_nothing_over() {
    let Some(mut bucket) = Bucket::start() else { return };
    let proxy = served();
    let (url, ca) = (bucket.url(), bucket.ca());
    let export = |args: &[&str], ca: &Path| {
        let mut command = keygate(&["--config", proxy.config().to_str().unwrap(), "audit", "export"]);
        command.args(args).env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "secret-of-a-test");
        command.env("AWS_REGION", "eu-central-1").env("AWS_ENDPOINT_URL", &url).env("AWS_CA_BUNDLE", ca);
        run(command, b"")
    };
    let to = ["--format", "parquet", "--to", "s3://evidence/gate-1"];
    let ran = export(&to, &proxy.directory().join("ca.pem"));
    assert!(ran.code == Some(1) && ran.stderr.contains("ertificate"), "an unknown root was trusted: {ran}");
    export(&to, &ca).ok();
    let objects = bucket.objects();
    let names: Vec<&str> = objects.keys().map(String::as_str).collect();
    assert!(names.len() == 2 && names[1] == "gate-1/manifest.json", "{names:?}");
    let lake = proxy.directory().join("fetched");
    for (name, contents) in &objects {
        let path = lake.join(name.strip_prefix("gate-1/").unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    self::export(&proxy, &["--verify", "fetched/manifest.json"]).ok();
    self::export(&proxy, &["--format", "parquet", "--to", "here/"]).ok();
    let here = fs::read(proxy.directory().join("here").join(names[0].strip_prefix("gate-1/").unwrap())).unwrap();
    assert_eq!(objects[names[0]], here, "what is in the bucket is not what a folder gets");
    let again = export(&to, &ca);
    assert!(again.code == Some(1) && again.stderr.contains("there already"), "{again}");
    let plain = url.replace("https://", "http://");
    let mut command = keygate(&["--config", proxy.config().to_str().unwrap(), "audit", "export"]);
    command.args(to).env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "secret-of-a-test");
    command.env("AWS_REGION", "eu-central-1").env("AWS_ENDPOINT_URL", plain).env("AWS_ALLOW_HTTP", "true");
    let ran = run(command, b"");
    assert!(ran.code == Some(1) && ran.stderr.contains("https"), "records left without TLS: {ran}");
}
