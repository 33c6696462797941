//! The profiles that are compiled in, from `config/profiles/`.

use super::{Profile, parse};

/// Names of the built-in profiles, sorted.
pub const BUILTIN_NAMES: [&str; 7] = ["amazon", "bol", "channelengine", "mirakl", "shopify", "stripe", "woocommerce"];

/// The built-in profile of that name. A test holds that each of [`BUILTIN_NAMES`] parses, so for those it is never
/// `None`.
pub fn builtin(name: &str) -> Option<Profile> {
    parse(source(name)?).ok()
}

/// The text of a built-in profile's file, to be copied and changed.
pub fn source(name: &str) -> Option<&'static str> {
    match name {
        "amazon" => Some(include_str!("../../config/profiles/amazon.toml")),
        "bol" => Some(include_str!("../../config/profiles/bol.toml")),
        "channelengine" => Some(include_str!("../../config/profiles/channelengine.toml")),
        "mirakl" => Some(include_str!("../../config/profiles/mirakl.toml")),
        "shopify" => Some(include_str!("../../config/profiles/shopify.toml")),
        "stripe" => Some(include_str!("../../config/profiles/stripe.toml")),
        "woocommerce" => Some(include_str!("../../config/profiles/woocommerce.toml")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Method;

    use super::*;
    use crate::profile::{Effect, Envelope, Placement};

    #[test]
    fn every_built_in_profile_parses_under_its_own_name() {
        for name in BUILTIN_NAMES {
            let profile = parse(source(name).unwrap()).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
            assert_eq!(profile.name, name);
        }
    }

    #[test]
    fn channelengine_has_all_107_operations_each_once() {
        let profile = builtin("channelengine").unwrap();
        let names: BTreeSet<&str> = profile.endpoints().iter().map(|e| &*e.name).collect();
        assert_eq!(names.len(), 107);
        assert_eq!(profile.endpoints().len(), 107);
    }

    #[test]
    fn what_a_call_does_decides_its_effect_not_its_method() {
        let profile = builtin("channelengine").unwrap();
        let effect = |name: &str| profile.endpoints()[profile.index_of(name).unwrap()].effect;
        assert_eq!(effect("POST /v2/carriers/{merchantOrderNo}"), Effect::Read);
        assert_eq!(effect("POST /v2/reports/settlements"), Effect::Write);
        assert_eq!(effect("POST /v2/shipments/channelmethod"), Effect::Write);
        for endpoint in profile.endpoints() {
            assert!(endpoint.method != Method::GET || endpoint.effect == Effect::Read, "{}", endpoint.name);
        }
    }

    #[test]
    fn scopes_that_end_in_read_hold_only_reads_and_the_others_only_writes() {
        for name in BUILTIN_NAMES {
            for endpoint in builtin(name).unwrap().endpoints() {
                assert_eq!(endpoint.scope.ends_with(":read"), endpoint.effect == Effect::Read, "{}", endpoint.name);
            }
        }
    }

    #[test]
    fn documents_with_personal_data_are_never_in_the_scope_of_orders_or_shipments() {
        for endpoint in builtin("channelengine").unwrap().endpoints() {
            if endpoint.personal_data.iter().any(|kind| kind == "response:document") {
                assert!(["documents:read", "labels:read"].contains(&&*endpoint.scope), "{}", endpoint.name);
            }
        }
    }

    #[test]
    fn the_second_profile_differs_in_key_placement_and_envelope() {
        let mirakl = builtin("mirakl").unwrap();
        assert_eq!(mirakl.envelope, Envelope::Problem);
        let name = http::header::AUTHORIZATION;
        assert_eq!(mirakl.inject, [Placement::Header { name, template: "{key}".to_owned() }]);
    }
}
