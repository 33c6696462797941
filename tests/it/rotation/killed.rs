//! The command is killed at each of its steps, and the gate too; whoever comes next goes on from the file.

use std::time::SystemTime;

use super::portal::{Rotating, Shop};
use crate::harness::client::Connection;
use crate::harness::proxy::EVERYDAY;
use crate::harness::{Client, Merchant, Proxy, Request, Seen, random_hex, until};

/// Enough reads for the canary to be over.
const FEW: [&str; 4] = ["--share", "100", "--reads", "3"];

/// A call that is under way until the test reads on: its body is announced and not sent.
fn held_write(client: &Client, path: &str) -> Connection {
    let mut connection = client.connect();
    connection.start(
        &Request::new("PUT", path)
            .header("content-type", "application/json")
            .header("content-length", "53")
            .header("x-held", "yes"),
    );
    connection.write(br#"[{"MerchantProductNo":"lamp-1","#).unwrap();
    connection
}

const REST: &[u8] = br#""Stock":3,"Price":18}]"#;

#[test]
fn a_command_that_is_killed_at_any_step_goes_on_from_there() {
    let mut shop = Shop::open();
    let key = shop.new_key();
    let (client, path) = (shop.proxy.client("webshop"), format!("{}/v2/offer", shop.proxy.base_path()));

    // In the canary, before anything was seen.
    let mut command = shop.begin(&FEW, &key);
    command.says("canary");
    command.kill();
    assert_eq!(shop.version(), 1);
    shop.reads(5);
    let went_with = |n: usize| shop.proxy.audit().of_kind("call")[n].field("credential")[1].clone();
    assert_eq!([went_with(0), went_with(1)], [2, 2], "the gate works on without the command");
    let another = shop.portal.make();
    let refused = shop.rotate(&FEW, &another);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("under way, in phase `canary`") && refused.stderr.contains("--abort"), "{refused}");
    let refused = shop.proxy.keygate(&["credential", "put", "acme"], another.as_bytes());
    assert!(refused.stderr.contains("under way"), "a key is not put over a rotation: {refused}");

    // While calls under way use the old key: the canary is over, as the gate has counted on.
    let mut held = held_write(&client, &path);
    until("the intent of the write", || (!shop.proxy.audit().of_kind("intent").is_empty()).then_some(()));
    let mut command = shop.begin(&FEW, &key);
    command.says("version 2 is in use in place of 1");
    command.says("drain: calls under way may still use version 1");
    command.kill();
    assert_eq!(shop.version(), 2);
    let mut command = shop.begin(&["--resume", "--wait", "1m"], "");
    command.says("drain");
    held.write(REST).unwrap();
    held.reply(&format!("PUT {path}")).unwrap().must_be(200);

    // While the old key's end is waited for.
    command.says("no call uses version 1 any more");
    command.kill();
    buried(&mut shop, &key);
}

/// What is left of a rotation to `key` when nothing uses the old one any more.
fn buried(shop: &mut Shop, key: &str) {
    let alive = shop.rotate(&["--resume"], "");
    assert_eq!(alive.code, Some(3), "{alive}");
    assert!(alive.stderr.contains("version 1 still lives: the upstream takes it"), "{alive}");
    assert!(alive.stderr.contains("hint: withdraw the old key"), "{alive}");
    shop.portal.withdraw(&shop.first.clone());
    let too_late = shop.rotate(&["--abort"], "");
    assert!(too_late.code == Some(1) && too_late.stderr.contains("there is no way back"), "{too_late}");
    let done = shop.rotate(&FEW, key);
    assert_eq!(done.code, Some(0), "the same command with the same key goes on as well: {done}");
    assert!(done.stderr.contains("version 1 is dead: the upstream refuses it with 401"), "{done}");
    assert_eq!(shop.events("rotation-former-alive").len(), 1);
    assert_eq!(shop.events("rotation-certified").len(), 1);
    let over = shop.rotate(&["--resume"], "");
    assert!(over.code == Some(1) && over.stderr.contains("no rotation of `acme` is under way"), "{over}");
    shop.reads(1);
}

#[test]
fn a_command_that_is_killed_the_moment_the_vault_changes_goes_on() {
    let mut shop = Shop::open();
    let vault = shop.proxy.vault();
    let changed = || std::fs::metadata(&vault).and_then(|facts| facts.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    for round in 0..3 {
        let (key, old_version) = (shop.new_key(), shop.version());
        // Each time some step later: what was done stays done, and what comes next is done by the next one.
        let mut steps = 0;
        loop {
            let before = changed();
            let mut command = shop.begin(&["--within", "1ms"], &key);
            let ended = until("a step, or the end", || {
                let ended = command.over();
                (ended.is_some() || changed() != before).then_some(ended)
            });
            if let Some(code) = ended {
                assert_eq!(code, 3, "the old key lives: nobody has withdrawn it\n{}", command.ends(3));
                break;
            }
            command.kill();
            steps += 1;
        }
        assert!(steps >= 1, "it was killed in round {round}");
        assert_eq!(shop.version(), old_version + 1);
        let old = std::mem::replace(&mut shop.first, key);
        shop.portal.withdraw(&old);
        shop.rotate(&["--resume"], "").ok();
        shop.reads(1);
    }
}

/// Under load there is always a read under way that could be sent with the other key as well.
#[test]
fn a_read_that_could_fall_back_to_the_old_key_does_not_keep_it_in_use() {
    let merchant = Merchant::start(|exchange| {
        exchange.body()?;
        if exchange.seen().target.ends_with("/v2/orders") {
            exchange.hold();
        }
        exchange.json(200, r#"{"Content":[],"Count":0,"StatusCode":200,"LogId":"m-1","Success":true}"#)
    });
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY);
    });
    let (client, base) = (proxy.client("webshop"), proxy.base_path().to_owned());
    let mut write = held_write(&client, &format!("{base}/v2/offer"));
    until("the intent of the write", || (!proxy.audit().of_kind("intent").is_empty()).then_some(()));
    let key = random_hex(40);
    proxy.plant("new key", &key);
    let config = proxy.config().display().to_string();
    let mut command = Rotating::start(&["--config", &config, "credential", "rotate", "acme", "--within", "1ms"], &key);
    command.says("drain: calls under way may still use version 1");
    let mut read = client.connect();
    read.start(&Request::new("GET", &format!("{base}/v2/orders")));
    until("the read at the upstream", || {
        let new = |seen: &Seen| seen.target.ends_with("/v2/orders") && seen.header("x-ce-key") == key;
        merchant.seen().iter().any(new).then_some(())
    });
    write.write(REST).unwrap();
    write.reply("PUT /v2/offer").unwrap().must_be(200);
    command.says("no call uses version 1 any more");
    assert!(command.ends(3).contains("version 1 still lives"), "this upstream takes every key");
    merchant.release();
    read.reply("GET /v2/orders").unwrap().must_be(200);
    let listed = proxy.keygate(&["credential", "list"], b"");
    assert!(listed.stderr.contains("`acme` is being rotated from version 1 to 2: phase `certify`"), "{listed}");
}

#[test]
fn a_gate_that_is_killed_while_calls_drain_or_the_old_keys_end_is_waited_for_comes_back_to_it() {
    let mut shop = Shop::open();
    let key = shop.new_key();
    let (client, path) = (shop.proxy.client("webshop"), format!("{}/v2/offer", shop.proxy.base_path()));
    let held = held_write(&client, &path);
    until("the intent of the write", || (!shop.proxy.audit().of_kind("intent").is_empty()).then_some(()));
    let mut command = shop.begin(&["--within", "1ms", "--wait", "2m"], &key);
    command.says("drain: calls under way may still use version 1");
    shop.proxy.kill();
    drop(held);
    shop.proxy.run();
    shop.reads(3);
    command.says("no call uses version 1 any more");
    shop.proxy.kill();
    shop.proxy.run();
    shop.reads(3);
    let calls = shop.proxy.audit().of_kind("call");
    assert!(calls.iter().all(|call| call.field("credential")[1] == 2), "{calls:?}");
    shop.portal.withdraw(&shop.first.clone());
    let said = command.ends(0);
    assert!(said.contains("version 1 is dead"), "{said}");
    shop.reads(1);
}

#[test]
fn a_gate_that_is_killed_in_the_middle_takes_the_rotation_up_again() {
    let mut shop = Shop::open();
    let key = shop.new_key();
    let mut command = shop.begin(&FEW, &key);
    command.says("canary");
    shop.proxy.kill();
    shop.proxy.run();
    shop.reads(5);
    let said = command.ends(3);
    assert!(said.contains("version 2 is in use in place of 1"), "{said}");
    shop.proxy.kill();
    shop.proxy.run();
    assert!(shop.await_event("credential-second", 1).contains("version 2; 100 % of the reads go out with it"));
    shop.portal.withdraw(&shop.first.clone());
    shop.reads(3);
    shop.rotate(&["--resume"], "").ok();
    shop.reads(1);
}

#[test]
fn without_a_gate_the_command_does_it_all_and_has_it_on_record() {
    let mut shop = Shop::closed();
    let key = shop.new_key();
    let ran = shop.rotate(&[], &key);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("no gate runs") && ran.stderr.contains("version 2 is in use in place of 1"), "{ran}");
    shop.portal.withdraw(&shop.first.clone());
    shop.rotate(&["--resume"], "").ok();
    for code in
        ["rotation-begun", "rotation-promoted", "rotation-drained", "rotation-former-alive", "rotation-certified"]
    {
        assert_eq!(shop.events(code).len(), 1, "{code}");
    }
    shop.proxy.keygate(&["audit", "verify"], b"").ok();
    shop.proxy.run();
    shop.reads(3);
    assert_eq!(shop.proxy.audit().of_kind("call")[0].field("credential")[1], 2);
}

#[test]
fn a_gate_that_cannot_be_spoken_to_is_no_reason_to_drive_blindly() {
    let mut shop = Shop::with(&[], |setup| {
        setup.integration("other", EVERYDAY).edit(|config, _| drop(config.remove("admin")));
    });
    shop.proxy.run();
    let key = shop.new_key();
    let ran = shop.rotate(&[], &key);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("no admin socket") && ran.stderr.contains("unix:audit/admin.sock"), "{ran}");
    assert_eq!(shop.version(), 1);
}

#[test]
fn without_traffic_a_read_of_the_commands_own_decides() {
    let mut shop = Shop::open();
    let key = shop.new_key();
    let command = shop.begin(&["--within", "1ms", "--wait", "1m", "--probe", "/v2/orders"], &key);
    shop.await_event("rotation-drained", 1);
    shop.portal.withdraw(&shop.first.clone());
    assert!(command.ends(0).contains("a read of our own decides"));
    assert_eq!(shop.version(), 2);
    for (probe, why) in
        [("/v2/offer", "no endpoint"), ("/v2/../x", "no plain path"), ("/v2/orders?x=1", "no plain path")]
    {
        let another = shop.portal.make();
        let ran = shop.rotate(&["--probe", probe], &another);
        assert!(ran.code == Some(2) && ran.stderr.contains(why), "{ran}");
    }
    let ran = shop.rotate(&["--within", "soon"], &key);
    assert_eq!(ran.code, Some(2), "{ran}");
}
