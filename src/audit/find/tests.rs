//! A search finds what a plain look at every record finds, in whatever state the log and its indexes are.

mod indexes;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::audit::batch::Draft;
use crate::audit::pen::Pen;
use crate::audit::recipients::Recipients;
use crate::audit::{Event, Kind, Outcome, ParamHasher, Record, Verdict};

const BEGIN: i64 = 1_795_000_000;

fn hasher() -> ParamHasher {
    ParamHasher::new(&[7; 32])
}

/// A record of few values, so that a search finds some: each number gives one.
fn record(at: u64, of: u16) -> Record {
    let small = |most: u16| u8::try_from(of % most).unwrap();
    let (id_byte, page_byte, host) = (small(9), small(4), small(6));
    let [of, kind] = [of, of / 7].map(usize::from);
    let kinds = [Kind::Call, Kind::Call, Kind::Intent, Kind::Connection, Kind::Gate];
    let time = Timestamp::from_second(BEGIN + i64::try_from(at + of as u64 % 5).unwrap()).unwrap();
    let mut record = Record::new(kinds[kind % kinds.len()], time);
    record.id = id(of);
    record.peer = Some(peer(host));
    if record.kind == Kind::Gate {
        record.event = Some(Event { code: ["started", "closed"][of % 2], detail: "\"status\":500".to_owned() });
        return record;
    }
    record.integration = Some(["webshop", "wms", "a \"quoted\" näme"][of % 3].into());
    record.endpoint = Some(["GET /v2/orders", "POST /v2/shipments"][of / 3 % 2].into());
    record.method = Some(["GET", "POST"][of / 3 % 2].into());
    record.status = [None, Some(200), Some(404), Some(500), Some(503)][of / 11 % 5];
    record.verdict = Some([Verdict::Allowed, Verdict::Refused][of / 13 % 2]);
    record.refusal = (of / 13 % 2 == 1).then_some(["not_allowed", "rate_limited"][of % 2]);
    record.outcome = Some([Outcome::Complete, Outcome::ClientGone][of / 17 % 2]);
    record.params = vec![("id".into(), hasher().hash("id", &[id_byte]))];
    record.query = vec![("page".into(), hasher().hash("page", &[page_byte])); of % 3];
    record
}

fn id(of: usize) -> Uuid {
    Uuid::from_u128(0x01a2_0bf9_9961_750d_8000_0000_0000_0000 | (of as u128 * 0x9e37_79b9 % 500))
}

fn peer(host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, host).into()
}

/// Who reads encrypted logs here.
fn auditor() -> &'static (Identity, String) {
    static AUDITOR: OnceLock<(Identity, String)> = OnceLock::new();
    AUDITOR.get_or_init(|| {
        let (text, recipient) = Identity::generate();
        (Identity::parse(&text).unwrap(), recipient)
    })
}

fn plain() -> Arc<Recipients> {
    Arc::default()
}

fn secret() -> Arc<Recipients> {
    Arc::new(Recipients::parse(std::slice::from_ref(&auditor().1)).unwrap())
}

/// A log's folder with these records, so many in each segment. Of the last one, as when a gate is writing, a part of a
/// line is there and room behind it.
fn log_of(records: &[u16], each: usize, readers: &Arc<Recipients>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (n, segment) in records.chunks(each).enumerate() {
        add(folder.path(), (n * each) as u64, segment, true, readers);
    }
    let last = list(folder.path()).unwrap().pop();
    if let Some(last) = last {
        let mut file = OpenOptions::new().append(true).open(last).unwrap();
        file.write_all(b"{\"time\":\"2026").unwrap();
        file.write_all(&[0; 5000]).unwrap();
    }
    folder
}

fn add(folder: &Path, first: u64, records: &[u16], new: bool, readers: &Arc<Recipients>) {
    let (mut lines, mut pen) = (Vec::new(), Pen::new(folder, readers.clone()));
    for (n, of) in records.iter().enumerate() {
        let seq = first + n as u64;
        let mut json = Vec::new();
        record(seq, *of).write(&mut json).unwrap();
        pen.line(&mut lines, Draft::Json(&json), seq).unwrap();
    }
    let path =
        if new { folder.join(format!("segment-{first:020}.jsonl")) } else { list(folder).unwrap().pop().unwrap() };
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(&lines).unwrap();
}

/// Numbers of the records that are found.
fn found(folder: &Path, wanted: &Wanted, by_index: bool) -> Vec<u64> {
    let mut seqs = Vec::new();
    let ended = find(folder, &Query::new(wanted.clone()), How { by_index, threads: 3 }, Some(&auditor().0), |told| {
        if let Told::Hit(line) = told {
            seqs.push(Line::parse(line).unwrap().seq);
        }
        ControlFlow::Continue(())
    });
    assert!(ended.unwrap().is_continue());
    seqs
}

/// The same by looking at the JSON of every record.
fn plainly(records: &[u16], wanted: &Wanted) -> Vec<u64> {
    let fits = |(seq, of): (u64, &u16)| {
        let value = serde_json::to_value(record(seq, *of)).unwrap();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let any = |name: &str, any: &[String]| any.is_empty() || any.contains(&text(&value[name]));
        let fields = wanted.fields.iter().all(|(field, values)| match field {
            Field::Event => values.is_empty() || values.contains(&text(&value["event"]["code"])),
            Field::Status => {
                let status = text(&value["status"]);
                values
                    .iter()
                    .any(|v| *v == status || v.strip_suffix("xx").is_some_and(|class| status.starts_with(class)))
                    || values.is_empty()
            }
            other => any(&format!("{other:?}").to_lowercase(), values),
        });
        let hashes: Vec<String> = ["params", "query"]
            .iter()
            .flat_map(|of| value[of].as_array().into_iter().flatten())
            .map(|pair| text(&pair[1]))
            .collect();
        let time: Timestamp = text(&value["time"]).parse().unwrap();
        let named = wanted.records.iter().any(|named| match named {
            Named::Id(id) => text(&value["id"]) == id.to_string(),
            Named::Number(number) => *number == seq,
        });
        let good = fields
            && (wanted.records.is_empty() || named)
            && (wanted.peers.is_empty() || wanted.peers.iter().any(|peer| peer.to_string() == text(&value["peer"])))
            && wanted.params.iter().all(|any| any.iter().any(|hash| hashes.contains(&hash.to_string())))
            && wanted.since.is_none_or(|since| time >= since)
            && wanted.until.is_none_or(|until| time < until);
        good.then_some(seq)
    };
    (0..).zip(records).filter_map(fits).collect()
}

fn some_of(values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let some = prop::sample::subsequence(values, 1..=values.len().min(2));
    prop_oneof![3 => Just(vec![]), 2 => some.prop_map(|some| some.into_iter().map(str::to_owned).collect())]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let fields = (
        some_of(&["call", "intent", "gate", "nonsense"]),
        some_of(&["webshop", "wms", "a \"quoted\" näme", "Webshop"]),
        some_of(&["GET /v2/orders", "POST /v2/shipments"]),
        some_of(&["200", "404", "5xx", "4xx", "418", "50"]),
        some_of(&["not_allowed", "rate_limited"]),
        some_of(&["allowed", "refused"]),
        some_of(&["started", "closed"]),
    );
    let fields = fields.prop_map(|(kind, integration, endpoint, status, refusal, verdict, event)| {
        use Field::{Endpoint, Event, Integration, Kind, Refusal, Status, Verdict};
        // Events and the rest exclude each other.
        let event = if kind.is_empty() && integration.is_empty() { event } else { vec![] };
        vec![
            (Kind, kind),
            (Integration, integration),
            (Endpoint, endpoint),
            (Status, status),
            (Refusal, refusal),
            (Verdict, verdict),
            (Event, event),
        ]
    });
    let named = prop_oneof![(0u16..2000).prop_map(|of| Named::Id(id(of.into()))), (0u64..120).prop_map(Named::Number),];
    let few = |most: usize| prop::collection::vec(0u8..10, 0..=most);
    let time =
        || prop::option::weighted(0.3, (BEGIN..BEGIN + 120).prop_map(|second| Timestamp::from_second(second).unwrap()));
    let records = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(named, 1..3)];
    let peers = prop_oneof![3 => Just(vec![]), 1 => few(2)];
    let params = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec((any::<bool>(), 0u8..10), 1..3)];
    (fields, records, peers, params, time(), time()).prop_map(|(fields, records, peers, params, since, until)| Wanted {
        fields,
        records,
        peers: peers.into_iter().map(peer).collect(),
        params: params
            .into_iter()
            .map(|(path, of)| vec![hasher().hash(if path { "id" } else { "PAGE" }, &[of])])
            .collect(),
        since,
        until,
    })
}

fn indexes(folder: &Path) -> Vec<PathBuf> {
    let segments = list(folder).unwrap();
    let paths = segments.iter().flat_map(|segment| [false, true].map(|secret| index::path(segment, secret)));
    paths.filter(|path| path.exists()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_search_finds_what_a_plain_look_at_every_record_finds(
        records in prop::collection::vec(any::<u16>(), 0..100),
        each in 1usize..60,
        wanted in prop::collection::vec(wanted(), 4),
        damage in any::<(usize, u8, bool)>(),
        encrypted in any::<bool>(),
        sealed in any::<bool>(),
    ) {
        let folder = log_of(&records, each, &if encrypted { secret() } else { plain() });
        let folder = folder.path();
        let segments = list(folder).unwrap().len();
        for (n, wanted) in wanted.iter().enumerate() {
            let expected = plainly(&records, wanted);
            prop_assert_eq!(&found(folder, wanted, false), &expected, "by reading everything");
            // The first time the indexes are made, then they are read.
            prop_assert_eq!(&found(folder, wanted, true), &expected, "by the index, {}", n);
            prop_assert_eq!(indexes(folder).len(), segments.saturating_sub(1));
        }
        if sealed {
            prop_assert_eq!(crate::audit::seal_all(folder).unwrap(), segments.saturating_sub(1));
            prop_assert!(indexes(folder).is_empty(), "an index of places that are gone");
            for wanted in &wanted {
                let expected = plainly(&records, wanted);
                prop_assert_eq!(&found(folder, wanted, false), &expected, "by reading all sealed segments");
                prop_assert_eq!(&found(folder, wanted, true), &expected, "by the index of sealed segments");
            }
        }
        for path in indexes(folder) {
            let mut bytes = fs::read(&path).unwrap();
            let at = damage.0 % bytes.len();
            if damage.2 { bytes.truncate(at) } else { bytes[at] ^= damage.1.max(1) }
            fs::write(&path, bytes).unwrap();
        }
        for wanted in &wanted {
            prop_assert_eq!(&found(folder, wanted, true), &plainly(&records, wanted), "with damaged indexes");
        }
    }
}

#[test]
fn an_index_of_another_segment_or_of_one_that_changed_is_made_anew() {
    let records: Vec<u16> = (0..60).collect();
    let folder = log_of(&records, 20, &plain());
    let all = Wanted::default();
    assert_eq!(found(folder.path(), &all, true), (0..60).collect::<Vec<_>>());
    let indexes = indexes(folder.path());
    fs::copy(&indexes[0], &indexes[1]).unwrap();
    assert_eq!(found(folder.path(), &all, true), (0..60).collect::<Vec<_>>());
    let segment = list(folder.path()).unwrap().remove(0);
    let text = fs::read(&segment).unwrap();
    let end = memchr::memchr(b'\n', &text).unwrap() + 1;
    fs::write(&segment, &text[..end]).unwrap();
    assert_eq!(found(folder.path(), &all, true), [0].into_iter().chain(20..60).collect::<Vec<_>>());
}

#[test]
fn where_the_folder_cannot_be_written_the_index_is_made_for_the_search_alone() {
    let records: Vec<u16> = (0..60).collect();
    let folder = log_of(&records, 20, &plain());
    // A folder in its place cannot be replaced by a file.
    fs::create_dir_all(index::path(&list(folder.path()).unwrap()[0], false).join("in the way")).unwrap();
    assert_eq!(found(folder.path(), &Wanted::default(), true), (0..60).collect::<Vec<_>>());
}

#[test]
fn a_search_that_is_ended_early_has_told_the_first_records() {
    let records: Vec<u16> = (0..100).collect();
    let folder = log_of(&records, 10, &plain());
    let mut seqs = Vec::new();
    let ended = find(folder.path(), &Query::new(Wanted::default()), How { by_index: true, threads: 4 }, None, |told| {
        if let Told::Hit(line) = told {
            seqs.push(Line::parse(line).unwrap().seq);
        }
        if seqs.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(ended.unwrap().is_break());
    assert_eq!(seqs, [0, 1, 2]);
}

#[test]
fn records_that_come_later_are_found_once_and_over_a_change_of_segment() {
    let records: Vec<u16> = (0..50).collect();
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted { fields: vec![(Field::Integration, vec!["wms".to_owned()])], ..Wanted::default() };
    let query = Query::new(wanted.clone());
    add(folder.path(), 0, &records[..10], true, &plain());
    let end = find(folder.path(), &query, How { by_index: true, threads: 1 }, Some(&auditor().0), |_| {
        ControlFlow::Continue(())
    });
    let Ok(ControlFlow::Continue(end)) = end else { panic!("it ended early") };
    let mut to_come = ToCome::after(folder.path(), end, Some(&auditor().0)).unwrap();
    let mut later = Vec::new();
    let mut read = |to_come: &mut ToCome| {
        while let Some(line) = to_come.next(&query).unwrap() {
            later.push(Line::parse(&line).unwrap().seq);
        }
        later.clone()
    };
    assert_eq!(read(&mut to_come), [0; 0]);
    add(folder.path(), 10, &records[10..20], false, &secret());
    add(folder.path(), 20, &records[20..], true, &secret());
    for _ in 0..3 {
        read(&mut to_come);
    }
    let expected: Vec<u64> = plainly(&records, &wanted).into_iter().filter(|seq| *seq >= 10).collect();
    assert_eq!(read(&mut to_come), expected);
}

#[test]
fn the_thread_beside_the_gate_makes_the_index_of_what_is_finished() {
    let records: Vec<u16> = (0..60).collect();
    let folder = log_of(&records, 20, &plain());
    let indexer = Indexer::start(folder.path()).unwrap();
    let began = std::time::Instant::now();
    while indexes(folder.path()).len() < 2 {
        assert!(began.elapsed().as_secs() < 20, "no index was made");
        std::thread::yield_now();
    }
    drop(indexer);
    assert_eq!(indexes(folder.path()).len(), 2, "the last segment is not finished");
}

#[test]
fn a_segment_that_goes_while_it_is_searched_ends_no_search() {
    let records: Vec<u16> = (0..60).collect();
    for by_index in [false, true] {
        let folder = log_of(&records, 1, &plain());
        // The thread is a few segments ahead of who listens, and no more.
        let goes = list(folder.path()).unwrap().remove(50);
        let mut seqs = Vec::new();
        let query = Query::new(Wanted::default());
        let ended = find(folder.path(), &query, How { by_index, threads: 1 }, None, |told| {
            if let Told::Hit(line) = told {
                if seqs.is_empty() {
                    fs::remove_file(&goes).unwrap();
                }
                seqs.push(Line::parse(line).unwrap().seq);
            }
            ControlFlow::Continue(())
        });
        assert!(ended.unwrap().is_continue());
        assert_eq!(seqs, (0..60).filter(|seq| *seq != 50).collect::<Vec<_>>());
    }
}
