//! How long `audit find` takes: `cargo bench --bench find [-- FOLDER [MILLIONS [FORMS]]]`. Writes logs of ten million records (some 7 GB
//! while they are live), searches them, and prints a table for each of FORMS (`encrypted,sealed,live`: encrypted is sealed too, as a gate
//! leaves it). In a folder that is named the logs stay, and are searched without being written the next time; else they lie in the system's
//! temporary folder and are removed.
//!
//! Cold: the system was told to forget the log's files before each search. Warm: right after that.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on must say so"
)]

#[path = "../common/record.rs"]
mod record;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keygate::audit::find::{Field, How, Named, Query, Told, Wanted, find};
use keygate::audit::{
    Directory, Disk, Identity, Log, ParamHasher, Recipients, Record, SigningKey, TlsText, Verdict, open, seal_all,
    unseal_all,
};
use keygate::config::Durability;

/// From one record to the next: ten million fill 28 hours.
const STEP: Duration = Duration::from_millis(10);
/// The first one's time.
const BEGIN: i64 = 1_795_000_000;

/// A log that is searched.
struct Searched {
    directory: PathBuf,
    identity: Option<Identity>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let millions: u64 = args.get(1).map_or(10, |millions| millions.parse().unwrap());
    let count = millions * 1_000_000;
    let aside = tempfile::tempdir().unwrap();
    let place = args.first().map_or_else(|| aside.path().to_owned(), PathBuf::from);
    for form in args.get(2).map_or("encrypted,sealed,live", |forms| forms).split(',') {
        let log = prepared(&place, form, millions);
        println!("\n{form}:\n");
        measure(&log, count);
    }
}

/// The log in that form, written if it is not there.
fn prepared(place: &Path, form: &str, millions: u64) -> Searched {
    let encrypted = form == "encrypted";
    let directory =
        place.join(if encrypted { format!("find-{millions}-encrypted") } else { format!("find-{millions}") });
    let key = directory.with_extension("identity");
    if !directory.exists() {
        let (identity, recipient) = Identity::generate();
        let to = if encrypted { vec![recipient] } else { vec![] };
        fs::create_dir_all(place).unwrap();
        fs::write(&key, &*identity).unwrap();
        write(&directory, millions * 1_000_000, Arc::new(Recipients::parse(&to).unwrap()));
    }
    let began = Instant::now();
    if form == "live" {
        unseal_all(&directory).unwrap();
    } else {
        seal_all(&directory).unwrap();
    }
    eprintln!("sealed or unsealed in {:.0} s, by one thread", began.elapsed().as_secs_f64());
    let identity = Identity::parse(&fs::read_to_string(&key).unwrap()).filter(|_| encrypted);
    Searched { directory, identity }
}

/// A table of searches.
fn measure(log: &Searched, count: u64) {
    let directory = &*log.directory;
    println!("| what | found | cold s | warm s | processor s |\n| --- | ---: | ---: | ---: | ---: |");
    remove_indexes(directory);
    let none = Wanted { fields: field(Field::Status, "599"), ..Wanted::default() };
    // The first search makes the indexes.
    let (found, made, used) = search(log, &none, true);
    println!("| first search, making all indexes | {found} | | {:.2} | {used:.2} |", made.as_secs_f64());
    for (what, wanted) in queries(log, count, &none) {
        forget(directory);
        let (found, cold, _) = search(log, &wanted, true);
        let (_, warm, used) = search(log, &wanted, true);
        println!("| {what} | {found} | {:.2} | {:.2} | {used:.2} |", cold.as_secs_f64(), warm.as_secs_f64());
    }
    let (_, warm, used) = search(log, &none, false);
    println!("| `--status 599 --scan` | 0 | | {:.2} | {used:.2} |", warm.as_secs_f64());
    println!(
        "\n{count} records, {} MiB of segments, {} MiB of indexes; ",
        size(directory, |path| path.extension().is_some_and(|it| it == "jsonl" || it == "sealed")) >> 20,
        size(directory, is_index) >> 20
    );
    println!("most memory that any search took: {} MiB", peak() >> 10);
}

/// What is looked for.
fn queries(log: &Searched, count: u64, none: &Wanted) -> [(&'static str, Wanted); 10] {
    let status = |status: &str| field(Field::Status, status);
    let rare_pair = [field(Field::Integration, "integration-3"), field(Field::Refusal, "limit_integration")].concat();
    let param = ParamHasher::new(&[7; 32]).hash("merchantOrderNo", format!("M-{}", count / 2).as_bytes());
    let page = ParamHasher::new(&[7; 32]).hash("page", b"7");
    let time = |n: u64| time_of(count / 2 + n);
    [
        ("`--record ID`", Wanted { records: vec![Named::Id(id_of(log, count / 2))], ..Wanted::default() }),
        ("`--param merchantOrderNo=…`", Wanted { params: vec![vec![param]], ..Wanted::default() }),
        ("`--status 599` (there is none)", none.clone()),
        ("`--status 500` (one of 200,000)", Wanted { fields: status("500"), ..Wanted::default() }),
        (
            "`--integration … --refusal …` (both common, together rare)",
            Wanted { fields: rare_pair, ..Wanted::default() },
        ),
        ("`--since … --until …` (10 s)", Wanted { since: Some(time(0)), until: Some(time(1000)), ..Wanted::default() }),
        ("`--peer` (one of 500,000)", Wanted { peers: vec![[192, 0, 2, 1].into()], ..Wanted::default() }),
        (
            "`--peer` (one of 1,000: nearly every block has one)",
            Wanted { peers: vec![[192, 0, 2, 2].into()], ..Wanted::default() },
        ),
        ("`--param page=…` (one of 1,000)", Wanted { params: vec![vec![page]], ..Wanted::default() }),
        (
            "`--status 404` (one of 1,000: nearly every block has one)",
            Wanted { fields: status("404"), ..Wanted::default() },
        ),
    ]
}

fn field(field: Field, value: &str) -> Vec<(Field, Vec<String>)> {
    vec![(field, vec![value.to_owned()])]
}

fn time_of(n: u64) -> Timestamp {
    Timestamp::from_second(BEGIN).unwrap() + STEP * u32::try_from(n).unwrap()
}

/// Record `n`: twenty integrations, eight endpoints, an order number of its own.
fn nth(n: u64, tls: &Arc<TlsText>, hasher: &ParamHasher) -> Record {
    let mut record = record::record(tls);
    record.time = time_of(n);
    let (integration, endpoint) = (n * 7 % 20, n * 11 % 8);
    record.integration = Some(format!("integration-{integration}").into());
    record.endpoint = Some(format!("GET /v2/orders/{endpoint}").into());
    let order = hasher.hash("merchantOrderNo", format!("M-{n}").as_bytes());
    record.query = vec![("merchantOrderNo".into(), order)];
    if n.is_multiple_of(3) {
        let page = if n % 999 == 333 { "7".to_owned() } else { format!("{}", 10 + n % 5_000) };
        record.query.push(("page".into(), hasher.hash("page", page.as_bytes())));
    }
    record.peer = Some(std::net::Ipv4Addr::new(10, 0, 0, (n % 200) as u8).into());
    match n {
        n if n % 500_000 == 499_999 => record.peer = Some([192, 0, 2, 1].into()),
        n if n % 200_000 == 100_000 => record.status = Some(500),
        n if n % 1_000 == 500 => record.peer = Some([192, 0, 2, 2].into()),
        n if n % 1_000 == 999 => record.status = Some(404),
        // Of integration 3 once in a million, of the others often.
        n if n % 301 == 17 && (integration != 3 || n % 1_000_000 < 20_000) => {
            record.refusal = Some("limit_integration");
            record.verdict = Some(Verdict::Refused);
            record.status = Some(429);
        }
        _ => {}
    }
    record
}

fn remove_indexes(directory: &Path) {
    let entries = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| is_index(path)).for_each(|path| fs::remove_file(path).unwrap());
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        name.as_encoded_bytes().ends_with(b".find") || name.as_encoded_bytes().ends_with(b".find.age")
    })
}

/// The id of the record with that number.
fn id_of(log: &Searched, number: u64) -> uuid::Uuid {
    let query = Query::new(Wanted { records: vec![Named::Number(number)], ..Wanted::default() });
    let mut id = None;
    let ended = find(&log.directory, &query, How { by_index: true, threads: 2 }, log.identity.as_ref(), |told| {
        if let Told::Hit(line) = told {
            let record: serde_json::Value = serde_json::from_slice(line).unwrap();
            id = record["id"].as_str().map(|id| id.parse().unwrap());
        }
        ControlFlow::Continue(())
    });
    assert!(ended.unwrap().is_continue());
    id.unwrap()
}

/// Writes the log.
fn write(directory: &Path, count: u64, recipients: Arc<Recipients>) {
    let key = Arc::new(SigningKey::of_a_log().unwrap());
    Directory::init(directory, SigningKey::parse(&key.text()).unwrap()).unwrap();
    let disk = Disk { segment_size: 64 << 20, durability: Durability::Os };
    let (sink, resume, _) = open(directory, disk, key, recipients).unwrap();
    let log = Log::start(Box::new(sink), resume).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (tls, hasher, began) = (record::tls(), ParamHasher::new(&[7; 32]), Instant::now());
    for n in 0..count {
        let record = nth(n, &tls, &hasher);
        let pending = log.append(&record);
        if n % 1000 == 999 {
            // So that no more than that waits in memory.
            runtime.block_on(pending).unwrap();
        }
        while n % 200_000 == 199_999 && signed(directory) + 200_000 < n {
            // Records come faster than the tree is kept.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    log.seal().unwrap();
    eprintln!("written in {:.0} s", began.elapsed().as_secs_f64());
}

/// How many records the newest checkpoint is signed for.
fn signed(directory: &Path) -> u64 {
    let note = fs::read_to_string(directory.join("checkpoint")).unwrap();
    note.lines().nth(1).unwrap().parse().unwrap()
}

fn search(log: &Searched, wanted: &Wanted, by_index: bool) -> (u64, Duration, f64) {
    let (query, began, used, mut found) = (Query::new(wanted.clone()), Instant::now(), used(), 0);
    let ended = find(&log.directory, &query, How { by_index, threads: 2 }, log.identity.as_ref(), |told| {
        found += u64::from(matches!(told, Told::Hit(_)));
        ControlFlow::Continue(())
    });
    assert!(ended.unwrap().is_continue());
    (found, began.elapsed(), self::used() - used)
}

/// Processor time of this process so far, seconds.
fn used() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let behind = stat.rsplit_once(") ").unwrap().1;
    let ticks: Vec<u32> = behind.split(' ').skip(11).take(2).map(|ticks| ticks.parse().unwrap()).collect();
    f64::from(ticks[0] + ticks[1]) / 100.0
}

/// Tells the system to forget what it has read of the log.
fn forget(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let file = fs::File::open(entry.path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

fn size(directory: &Path, counts: impl Fn(&Path) -> bool) -> u64 {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let entries = entries.filter(|entry| counts(&entry.path()));
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}

/// The most memory that this process ever had, KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
