//! A receipt as clients get it: which log, which record, its leaf in the tree, and on request the gate's signature.
//!
//! `ORIGIN INDEX LEAF [SIGNATURE]`, one line that fits any log. The signature is that of the signed note whose text is
//! `keygate-receipt/v1`, origin, index and leaf, a line each; its first line keeps it from being read as a checkpoint.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;

use super::line::digits;
use super::tree::Hash;
use super::tree::note::{SigningKey, VerifierKey};

/// What the receipt is called.
pub const RECEIPT: &str = "keygate-receipt";
/// The same as the name of a header.
pub const RECEIPT_HEADER: HeaderName = HeaderName::from_static(RECEIPT);

/// The text that is signed.
fn statement(origin: &str, index: u64, leaf: &str) -> String {
    format!("{RECEIPT}/v1\n{origin}\n{index}\n{leaf}\n")
}

/// The receipt of a record. `signed` costs a signature.
pub(super) fn write(key: &SigningKey, index: u64, leaf: &Hash, signed: bool) -> String {
    let origin = key.verifier().name();
    let mut text = String::with_capacity(192);
    text.push_str(origin);
    text.push(' ');
    push_number(&mut text, index);
    text.push(' ');
    let from = text.len();
    base64_simd::STANDARD.encode_append(leaf, &mut text);
    if signed {
        let signature = key.signature_text(&statement(origin, index, &text[from..]));
        text.push(' ');
        text.push_str(&signature);
    }
    text
}

/// Appends a number in decimal digits.
pub fn push_number(text: &mut String, number: u64) {
    let (digits, at) = digits(number);
    text.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// A receipt that somebody kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) index: u64,
    pub(super) leaf: Hash,
}

/// Reads one, with or without the header's name in front.
pub(super) fn read(line: &str, key: &VerifierKey) -> Result<Kept, &'static str> {
    let no_receipt = "this is no receipt: it reads `ORIGIN INDEX LEAF [SIGNATURE]`";
    let mut words = line.split_whitespace().peekable();
    words.next_if(|word| word.trim_end_matches(':').eq_ignore_ascii_case(RECEIPT));
    let (Some(origin), Some(index), Some(leaf)) = (words.next(), words.next(), words.next()) else {
        return Err(no_receipt);
    };
    let (signature, end) = (words.next(), words.next());
    let number = index.parse().ok().filter(|number: &u64| number.to_string() == index);
    let hash = STANDARD.decode(leaf).ok().and_then(|hash| hash.try_into().ok());
    let (Some(number), Some(hash), None) = (number, hash, end) else { return Err(no_receipt) };
    if origin != key.name() {
        return Err("it is a receipt of another log");
    }
    if signature.is_some_and(|signature| !key.signed_text(&statement(origin, number, leaf), signature)) {
        return Err("its signature is not the log's");
    }
    Ok(Kept { index: number, leaf: hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_as_it_was_written() {
        let key = SigningKey::of_a_log().unwrap();
        let kept = Kept { index: 4711, leaf: [7; 32] };
        for signed in [false, true] {
            let text = write(&key, kept.index, &kept.leaf, signed);
            assert!(text.len() < 200, "{text}");
            assert_eq!(read(&text, key.verifier()), Ok(kept));
            assert_eq!(read(&format!("Keygate-Receipt: {text}\r"), key.verifier()), Ok(kept));
            assert!(read(&format!("{text} more words"), key.verifier()).is_err());
            assert!(read(&text, SigningKey::of_a_log().unwrap().verifier()).is_err(), "another log's");
        }
        let signed = write(&key, kept.index, &kept.leaf, true);
        assert!(read(&signed.replace("4711", "4712"), key.verifier()).is_err(), "a changed one passes");
    }
}
