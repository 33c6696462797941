//! How old a key may become.

use super::portal::Shop;

#[test]
fn the_metrics_tell_how_old_a_key_is_and_when_it_is_overdue() {
    let mut shop = Shop::with(&[], |setup| {
        setup.set(&["upstream", "acme", "rotate_after"], "1ms");
    });
    shop.proxy.run();
    let labels = "{upstream=\"acme\",credential=\"acme\"}";
    let sample = |shop: &Shop, name: &str| shop.proxy.metric(&format!("{name}{labels}"));
    let overdue = |shop: &Shop| sample(shop, "keygate_credential_overdue").unwrap();
    crate::harness::until("the key to be a second old", || (overdue(&shop) == 1).then_some(()));
    assert!(sample(&shop, "keygate_credential_age_seconds").unwrap() >= 1);
    // A new key is young, and the old one does not count any more.
    let key = shop.new_key();
    let ran = shop.rotate(&["--within", "1ms"], &key);
    assert_eq!(ran.code, Some(3), "{ran}");
    let age = sample(&shop, "keygate_credential_age_seconds").unwrap();
    assert!(age < 3600, "{age}");
    shop.proxy.stop();
    let mut calm = Shop::closed();
    calm.proxy.run();
    assert_eq!(sample(&calm, "keygate_credential_overdue"), None, "without `rotate_after` no key is overdue");
    assert!(sample(&calm, "keygate_credential_age_seconds").is_some());
}
