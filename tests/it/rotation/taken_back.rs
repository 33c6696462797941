//! A new key that does not work is taken back, by whoever sees it first; an old key that lives on is told.

use super::portal::Shop;
use crate::harness::until;

const ALL: [&str; 4] = ["--share", "100", "--reads", "1000"];

#[test]
fn a_new_key_that_the_upstream_does_not_know_never_gets_into_the_vault() {
    let mut shop = Shop::open();
    let wrong = crate::harness::random_hex(40);
    let ran = shop.rotate(&ALL, &wrong);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("the upstream refuses the new key with 401; nothing was changed"), "{ran}");
    let same = shop.first.clone();
    let ran = shop.rotate(&ALL, &same);
    assert!(ran.code == Some(1) && ran.stderr.contains("in use already"), "{ran}");
    let ran = shop.rotate(&[&wrong], "");
    assert!(ran.code == Some(2) && !ran.stderr.contains(&wrong), "{ran}");
    assert_eq!(shop.version(), 1);
    assert_eq!(shop.events("credential-second").len(), 0);
}

#[test]
fn a_new_key_that_dies_among_the_reads_is_taken_back_and_no_call_fails() {
    let mut shop = Shop::open();
    let key = shop.new_key();
    let mut command = shop.begin(&ALL, &key);
    command.says("canary");
    shop.reads(3);
    shop.portal.withdraw(&key);
    shop.reads(3);
    let said = command.ends(1);
    assert!(said.contains("it was taken back, the old one is in use"), "{said}");
    assert_eq!(shop.version(), 1);
    let told = shop.await_event("rotation-rolled-back", 1);
    assert!(told.contains("version 2 was refused with 401 where version 1 was not; version 1 alone is used"), "{told}");
    shop.await_event("rotation-taken-back", 1);
    let calls = shop.proxy.audit().of_kind("call");
    let retried: Vec<_> = calls.iter().filter(|line| !line.field("retried_with").is_null()).collect();
    assert_eq!(retried.len(), 1, "one read found it out: {calls:#?}");
    assert_eq!((&retried[0].field("credential")[1], &retried[0].field("retried_with")[1]), (&2.into(), &1.into()));
    assert_eq!(retried[0].number("status"), 200);

    // The next one gets a version of its own.
    let another = shop.new_key();
    let ran = shop.rotate(&["--within", "1ms"], &another);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert_eq!(shop.version(), 3);
}

#[test]
fn the_gate_stops_using_a_bad_key_by_itself_when_the_command_is_dead() {
    let mut shop = Shop::open();
    let key = shop.new_key();
    let mut command = shop.begin(&ALL, &key);
    command.says("canary");
    command.kill();
    shop.portal.withdraw(&key);
    shop.reads(5);
    shop.await_event("rotation-rolled-back", 1);
    let calls = shop.proxy.audit().of_kind("call");
    let with_new = calls.iter().filter(|line| line.field("credential")[1] == 2).count();
    assert_eq!(with_new, 1, "after the first refusal the new key is used no more");
    let ran = shop.rotate(&["--resume"], "");
    assert!(ran.code == Some(1) && ran.stderr.contains("taken back"), "{ran}");
    assert_eq!(shop.version(), 1);
}

#[test]
fn a_new_key_that_dies_after_it_was_promoted_is_taken_back_while_the_old_one_lives() {
    let mut shop = Shop::open();
    let key = shop.new_key();
    let alive = shop.rotate(&["--within", "1ms"], &key);
    assert_eq!((alive.code, shop.version()), (Some(3), 2), "{alive}");
    shop.portal.withdraw(&key);
    shop.reads(3);
    shop.await_event("rotation-rolled-back", 1);
    let client = shop.proxy.client("webshop");
    let offer = serde_json::json!([{"MerchantProductNo": "lamp-1", "Stock": 3, "Price": 18}]);
    client.send("PUT", "/v2/offer", &offer).must_be(200);
    let ran = shop.rotate(&["--resume"], "");
    assert!(ran.code == Some(1) && ran.stderr.contains("taken back"), "{ran}");
    assert_eq!(shop.version(), 1);
    shop.reads(2);
}

#[test]
fn an_old_key_that_dies_too_early_is_no_failed_read_and_the_new_one_takes_over() {
    let mut shop = Shop::open();
    let key = shop.new_key();
    let mut command = shop.begin(&["--share", "1", "--reads", "1000", "--within", "1h", "--wait", "1m"], &key);
    command.says("canary");
    // The first read is the canary's; the others go out with the old key, and one of them finds it dead.
    shop.reads(1);
    shop.portal.withdraw(&shop.first.clone());
    shop.reads(3);
    let said = command.ends(0);
    assert!(said.contains("the upstream refuses the old key already"), "{said}");
    assert!(
        shop.await_event("rotation-advanced", 1).contains("version 1 was refused with 401 where version 2 was not")
    );
    assert_eq!(shop.version(), 2);
    shop.reads(1);
}

#[test]
fn abort_goes_back_to_the_old_key_from_any_step() {
    let mut shop = Shop::open();
    for args in [&ALL[..], &["--within", "1ms"]] {
        let key = shop.new_key();
        let mut command = shop.begin(args, &key);
        if args == ALL {
            command.says("canary");
            command.kill();
        } else {
            command.ends(3);
        }
        let aborted = shop.rotate(&["--abort"], "");
        assert_eq!(aborted.code, Some(0), "{aborted}");
        assert_eq!(shop.version(), 1);
        shop.reads(2);
        let calls = shop.proxy.audit().of_kind("call");
        assert_eq!(calls.last().unwrap().field("credential")[1], 1);
    }
    assert_eq!(shop.events("rotation-aborted").len(), 2);
    until("the gate to forget the second key", || shop.proxy.admin("/health").1.contains("\"ok\":true").then_some(()));
    let ran = shop.rotate(&["--abort"], "");
    assert_eq!(ran.code, Some(1), "{ran}");
}
