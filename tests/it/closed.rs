//! A log that cannot be written for a while: nothing is served, and when it can be written again the gate opens by itself,
//! with the gap on record. Where reads are to go on when the disk is full, they do, and stop when their room is used up.

mod disks;
mod reads_only;

use std::fs;
use std::path::Path;

use crate::audit::{a_full_log_loses_nothing, the_gate_closes};
use crate::harness::proxy::EVERYDAY;
use crate::harness::{Merchant, Proxy, have, until};
use disks::SmallDisk;

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_gate_closes_when_the_disk_is_full_and_loses_nothing() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", crate::harness::proxy::EVERYDAY);
    });
    let folder = proxy.audit().directory().to_owned();
    let aside = tempfile::tempdir().unwrap();
    copy_files(&folder, aside.path());
    let disk = SmallDisk::mount(&folder, "96k");
    if !have("the right to mount a small disk", disk.is_some()) {
        return;
    }
    copy_files(aside.path(), &folder);
    proxy.run();
    a_full_log_loses_nothing(&mut proxy, &merchant);
    drop(disk);
}

/// What stands on record of the gate's own events.
fn events(proxy: &Proxy, code: &str) -> Vec<String> {
    let gate = proxy.audit().of_kind("gate").into_iter().filter(|line| line.text("event.code") == code);
    gate.map(|line| line.text("event.detail").to_owned()).collect()
}

/// Waits until the gate serves again, and looks at what it says of the time before.
fn opens_again(proxy: &mut Proxy, why: &str) {
    let client = proxy.client("webshop");
    until("a gate that serves again", || (client.get("/v2/orders").status == 200).then_some(()));
    let gaps = events(proxy, "reopened");
    assert!(gaps.last().is_some_and(|gap| gap.contains(why) && gap.contains("refused")), "{gaps:?}");
    proxy.stop();
    proxy.keygate(&["audit", "verify"], b"").ok();
}

#[test]
fn a_disk_that_was_full_gets_the_last_words_and_the_gate_opens_when_there_is_room() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY).set(&["audit", "reserve"], "32KiB");
    });
    let folder = proxy.audit().directory().to_owned();
    let aside = tempfile::tempdir().unwrap();
    copy_files(&folder, aside.path());
    let disk = SmallDisk::mount(&folder, "256k");
    if !have("the right to mount a small disk", disk.is_some()) {
        return;
    }
    copy_files(aside.path(), &folder);
    proxy.run();
    let client = proxy.client("webshop");
    let refused = until("a full disk", || {
        let reply = client.get("/v2/orders");
        (reply.status != 200).then_some(reply)
    });
    refused.must_be_refused(503, "audit_unavailable");
    let closed = until("the last words", || events(&proxy, "closed").pop());
    assert!(closed.contains("No space left"), "{closed}");
    the_gate_closes(&proxy, &merchant);
    disk.as_ref().unwrap().becomes("1m");
    opens_again(&mut proxy, "No space left");
    drop(disk);
}

#[test]
fn a_log_folder_that_comes_back_is_taken_up_again() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    proxy.client("webshop").get("/v2/orders").must_be(200);
    let folder = proxy.audit().directory().to_owned();
    let away = folder.with_extension("away");
    fs::rename(&folder, &away).unwrap();
    the_gate_closes(&proxy, &merchant);
    fs::rename(&away, &folder).unwrap();
    opens_again(&mut proxy, "could not be kept");
}

#[test]
fn a_log_that_lost_durable_records_is_gone_on_with_only_when_they_are_back() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    for _ in 0..5 {
        proxy.client("webshop").get("/v2/orders").must_be(200);
    }
    let segment = proxy.audit().segments().pop().unwrap();
    let log = fs::read(&segment).unwrap();
    let first = log.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&segment, &log[..first]).unwrap();
    the_gate_closes(&proxy, &merchant);
    fs::write(&segment, &log).unwrap();
    // Had it gone on before, the numbers would not fit now.
    opens_again(&mut proxy, "could not be kept");
}
