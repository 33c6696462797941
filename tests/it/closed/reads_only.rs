//! `[audit] on_failure = "reads-only"`: on a full disk reads go on in what lay in reserve, each on record; whatever else breaks closes
//! the gate as ever.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::disks::{Ext4, SmallDisk};
use super::{copy_files, events, opens_again};
use crate::audit::the_gate_closes;
use crate::harness::proxy::EVERYDAY;
use crate::harness::{Client, Merchant, Proxy, Reply, have, until};

/// A gate that is to serve reads on a full disk. It is not started: its audit folder is to get a disk of its own.
fn prepared(merchant: &Merchant) -> Proxy {
    Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY);
        setup.set(&["audit", "reserve"], "192KiB").set(&["audit", "segment_size"], "64KiB");
        setup.set(&["audit", "on_failure"], "reads-only");
    })
}

/// Puts the log on its disk with `mount`; the disk.
fn moved<D>(folder: &Path, mount: impl FnOnce() -> Option<D>) -> Option<D> {
    let aside = tempfile::tempdir().unwrap();
    copy_files(folder, aside.path());
    let disk = mount();
    if have("the right to mount a small disk", disk.is_some()) {
        copy_files(aside.path(), folder);
    }
    disk
}

fn write(client: &Client) -> Reply {
    client.send("POST", "/v2/shipments", &json!({}))
}

/// Takes all room on the disk but what is held in reserve; the file that has it.
fn fill(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    path
}

/// Calls until the disk is full and only reads are served.
fn only_reads_are_served(proxy: &Proxy, client: &Client) {
    let refused = until("a full disk", || Some(write(client)).filter(|reply| reply.status != 200));
    let code = refused.refusal().to_owned();
    assert!(["audit_unavailable", "audit_reads_only"].contains(&code.as_str()), "{code}");
    until("a gate that serves reads", || (client.get("/v2/orders").status == 200).then_some(()));
    let begun = events(proxy, "reads-only");
    assert!(begun.len() == 1 && begun[0].contains("No space left"), "{begun:?}");
}

#[test]
fn on_a_full_disk_reads_are_served_from_the_reserve_and_then_nothing() {
    let merchant = Merchant::content();
    let mut proxy = prepared(&merchant);
    let folder = proxy.audit().directory().to_owned();
    let Some(disk) = moved(&folder, || SmallDisk::mount(&folder, "1m")) else { return };
    proxy.run();
    let filler = fill(&folder);
    let client = proxy.client("webshop");
    only_reads_are_served(&proxy, &client);
    let sent = merchant.seen().iter().filter(|call| call.method == "POST").count();
    let refused = write(&client);
    refused.must_be_refused(503, "audit_reads_only");
    assert_eq!(proxy.record(&refused).text("refusal"), "audit_reads_only");
    let (status, health) = proxy.admin("/health");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert!(status == 200 && health["reads_only"].as_str().unwrap().contains("No space left"), "{health}");
    assert_eq!(proxy.metric("keygate_audit_takes_writes"), Some(0));
    assert_eq!(proxy.metric("keygate_audit_open"), Some(1));
    let mut ids = Vec::new();
    until("an end of the room", || {
        let reply = client.get("/v2/orders");
        if reply.status == 200 {
            ids.push(reply.record().to_owned());
            return None;
        }
        reply.must_be_refused(503, "audit_unavailable");
        Some(())
    });
    until("the last words", || events(&proxy, "closed").pop());
    the_gate_closes(&proxy, &merchant);
    let posts = merchant.seen().iter().filter(|call| call.method == "POST").count();
    assert_eq!(posts, sent, "a call that changes something was forwarded");
    let kept = proxy.audit().of_kind("call");
    assert!(ids.len() > 20, "{} reads had room", ids.len());
    assert!(ids.iter().all(|id| kept.iter().any(|line| line.text("id") == id)), "a reply without its record");
    fs::remove_file(filler).unwrap();
    opens_again(&mut proxy, "No space left");
    drop(disk);
}

#[test]
fn calls_that_change_something_are_taken_again_when_there_is_room() {
    let merchant = Merchant::content();
    let mut proxy = prepared(&merchant);
    let folder = proxy.audit().directory().to_owned();
    let Some(disk) = moved(&folder, || SmallDisk::mount(&folder, "1m")) else { return };
    proxy.run();
    let filler = fill(&folder);
    let client = proxy.client("webshop");
    only_reads_are_served(&proxy, &client);
    fs::remove_file(filler).unwrap();
    until("a gate that takes writes", || (write(&client).status == 200).then_some(()));
    assert_eq!(proxy.metric("keygate_audit_takes_writes"), Some(1));
    let ended = events(&proxy, "reopened");
    assert!(ended.len() == 1 && ended[0].contains("No space left"), "{ended:?}");
    let reserve = fs::metadata(folder.join("reserve")).unwrap().len();
    assert_eq!(reserve, 192 << 10, "the reserve is not whole again");
    proxy.stop();
    proxy.keygate(&["audit", "verify"], b"").ok();
    drop(disk);
}

/// What is broken and not full closes the gate, and what was acknowledged is there when the disk is mended.
fn closes(breaks: impl FnOnce(&Ext4), why: &str) {
    let merchant = Merchant::content();
    let mut proxy = prepared(&merchant);
    let folder = proxy.audit().directory().to_owned();
    let aside = tempfile::tempdir().unwrap();
    let Some(mut disk) = moved(&folder, || Ext4::mount(&folder, aside.path())) else { return };
    proxy.run();
    let client = proxy.client("webshop");
    let ids: Vec<String> = (0..20).map(|_| client.get("/v2/orders").must_be(200).record().to_owned()).collect();
    breaks(&disk);
    the_gate_closes(&proxy, &merchant);
    let (status, health) = proxy.admin("/health");
    assert!(status == 503 && health.contains(why), "{health}");
    proxy.signal("TERM");
    proxy.wait();
    disk.is_mended();
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    proxy.stop();
    let kept = proxy.audit().of_kind("call");
    assert!(ids.iter().all(|id| kept.iter().any(|line| line.text("id") == id)), "a reply without its record");
    proxy.keygate(&["audit", "verify"], b"").ok();
}

#[test]
fn the_gate_closes_when_its_disk_answers_with_errors() {
    closes(Ext4::breaks, "Input/output error");
}

#[test]
fn the_gate_closes_when_its_disk_becomes_read_only() {
    closes(Ext4::becomes_read_only, "Read-only file system");
}
