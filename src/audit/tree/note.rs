//! Signed notes (C2SP signed-note) with Ed25519 keys, checkpoints in them (tlog-checkpoint), and cosignatures of witnesses
//! (tlog-cosignature). Keys have the text form of Go's `sumdb/note`, so its tools take them.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::merkle::{Hash, sha256};

/// Marks a plain Ed25519 signature of a note.
const PLAIN: u8 = 1;
/// Marks a witness's cosignature, which has a time in it.
const COSIGNATURE: u8 = 4;
/// What a private key begins with.
const PRIVATE: &str = "PRIVATE+KEY+";
/// What a signature line begins with.
const MARK: &str = "\u{2014} ";

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no {0}")]
pub struct NoKey(&'static str);

fn key_id(name: &str, algorithm: u8, public: &[u8]) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[algorithm], public].concat());
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Whether a name can stand in a note: no spaces, no plus.
fn fits(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

/// Who signs, for those who check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    algorithm: u8,
    id: [u8; 4],
    public: [u8; 32],
}

impl VerifierKey {
    fn new(name: &str, algorithm: u8, public: [u8; 32]) -> Self {
        Self { name: name.to_owned(), algorithm, id: key_id(name, algorithm, &public), public }
    }

    /// Reads `NAME+ID+KEY`.
    pub fn parse(text: &str) -> Result<Self, NoKey> {
        let no_key = NoKey("verifier key of a log or a witness (`NAME+ID+KEY`)");
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(no_key) };
        let key = STANDARD.decode(key).map_err(|_| no_key)?;
        let (Some(algorithm), Ok(public)) = (key.first(), <[u8; 32]>::try_from(key.get(1..).unwrap_or_default()))
        else {
            return Err(no_key);
        };
        let parsed = Self::new(name, *algorithm, public);
        let known = [PLAIN, COSIGNATURE].contains(algorithm) && fits(name);
        if known && id == hex(parsed.id) { Ok(parsed) } else { Err(no_key) }
    }

    /// The signer's name: of a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `NAME+ID+KEY`.
    pub fn text(&self) -> String {
        let key = STANDARD.encode([&[self.algorithm], &self.public[..]].concat());
        format!("{}+{}+{key}", self.name, hex(self.id))
    }

    /// Whether this key signed the text with this signature line's bytes.
    fn signed(&self, text: &str, signature: &[u8]) -> bool {
        let Some(signature) = signature.strip_prefix(&self.id) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, self.public);
        match (self.algorithm, signature.split_first_chunk::<8>()) {
            (PLAIN, _) => key.verify(text.as_bytes(), signature).is_ok(),
            (COSIGNATURE, Some((time, signature))) => {
                key.verify(cosigned(u64::from_be_bytes(*time), text).as_bytes(), signature).is_ok()
            }
            _ => false,
        }
    }
}

fn hex(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// What a witness signs.
fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Who signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    /// For those who check.
    verifier: VerifierKey,
}

impl SigningKey {
    fn new(name: &str, algorithm: u8, seed: Zeroizing<[u8; 32]>) -> Result<Self, NoKey> {
        let no_key = NoKey("signing key");
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| no_key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| no_key)?;
        Ok(Self { pair, seed, verifier: VerifierKey::new(name, algorithm, public) })
    }

    fn random(name: &str, algorithm: u8) -> Result<Self, NoKey> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(&mut *seed).map_err(|_| NoKey("machine that hands out random bytes"))?;
        Self::new(name, algorithm, seed)
    }

    /// A fresh key for a log, whose origin has random digits in it: no two logs share one.
    pub fn of_a_log() -> Result<Self, NoKey> {
        let mut digits = [0; 8];
        rand::fill(&mut digits).map_err(|_| NoKey("machine that hands out random bytes"))?;
        Self::random(&format!("keygate/{:016x}", u64::from_be_bytes(digits)), PLAIN)
    }

    /// A fresh key for a witness.
    pub fn of_a_witness(name: &str) -> Result<Self, NoKey> {
        if !fits(name) {
            return Err(NoKey("name: it must have no spaces and no `+`, as `witness.example.com/audit`"));
        }
        Self::random(name, COSIGNATURE)
    }

    /// Reads `PRIVATE+KEY+NAME+ID+SEED`.
    pub fn parse(text: &str) -> Result<Self, NoKey> {
        let no_key = NoKey("signing key (`PRIVATE+KEY+NAME+ID+SEED`)");
        let mut parts = text.trim().strip_prefix(PRIVATE).ok_or(no_key)?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(no_key) };
        let bytes = Zeroizing::new(STANDARD.decode(key).map_err(|_| no_key)?);
        let (algorithm, seed) = bytes.split_first().ok_or(no_key)?;
        let mut own = Zeroizing::new([0; 32]);
        if seed.len() != own.len() || !fits(name) || ![PLAIN, COSIGNATURE].contains(algorithm) {
            return Err(no_key);
        }
        own.copy_from_slice(seed);
        let key = Self::new(name, *algorithm, own)?;
        if id == hex(key.verifier.id) { Ok(key) } else { Err(no_key) }
    }

    /// `PRIVATE+KEY+NAME+ID+SEED`.
    pub fn text(&self) -> Zeroizing<String> {
        let VerifierKey { name, algorithm, id, .. } = &self.verifier;
        let bytes = Zeroizing::new([&[*algorithm], &self.seed[..]].concat());
        let mut text = Zeroizing::new(format!("{PRIVATE}{name}+{}+", hex(*id)));
        STANDARD.encode_string(&*bytes, &mut text);
        text.push('\n');
        text
    }

    /// For those who check.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The bytes of a signature line.
    fn signature(&self, text: &str) -> Vec<u8> {
        [&self.verifier.id[..], self.pair.sign(text.as_bytes()).as_ref()].concat()
    }

    /// A signed note: the text, which ends with a newline, an empty line, and the signature.
    pub fn note(&self, text: &str) -> String {
        format!("{text}\n{}", line(&self.verifier.name, &self.signature(text)))
    }
}

impl SigningKey {
    /// A note with the text `checkpoint`, and a witness's signature of this time under it.
    pub fn cosigned(&self, note: &str, checkpoint: &str, time: u64) -> String {
        let signature = self.pair.sign(cosigned(time, checkpoint).as_bytes());
        let bytes = [&self.verifier.id[..], &time.to_be_bytes(), signature.as_ref()].concat();
        format!("{note}{}", line(&self.verifier.name, &bytes))
    }

    /// The signature of a text, in Base64, as it stands in a signature line.
    pub fn signature_text(&self, text: &str) -> String {
        STANDARD.encode(self.signature(text))
    }
}

impl VerifierKey {
    /// Whether this key signed the text with this signature, Base64 as in a signature line.
    pub fn signed_text(&self, text: &str, signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|signature| self.signed(text, &signature))
    }
}

fn line(name: &str, signature: &[u8]) -> String {
    format!("{MARK}{name} {}\n", STANDARD.encode(signature))
}

/// A note taken apart; nothing is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is signed.
    text: String,
    /// Names and signatures.
    signatures: Vec<(String, Vec<u8>)>,
}

impl Note {
    /// Takes one apart. `None` when it is none.
    pub fn parse(note: &str) -> Option<Self> {
        let end = note.rfind("\n\n")? + 1;
        let (text, lines) = (&note[..end], note[end + 1..].strip_suffix('\n')?);
        let signatures = lines.split('\n').map(|line| {
            let (name, signature) = line.strip_prefix(MARK)?.split_once(' ')?;
            let signature = STANDARD.decode(signature).ok().filter(|bytes| bytes.len() > 4)?;
            fits(name).then(|| (name.to_owned(), signature))
        });
        Some(Self { text: text.to_owned(), signatures: signatures.collect::<Option<_>>()? })
    }

    /// The text, if this key signed it.
    pub fn signed_by(&self, key: &VerifierKey) -> Option<&str> {
        let signed = |(name, signature): &(String, Vec<u8>)| *name == key.name && key.signed(&self.text, signature);
        self.signatures.iter().any(signed).then_some(&*self.text)
    }
}

/// How large a log's tree was, and its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many records.
    pub size: u64,
    /// RFC 6962's tree hash of them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n", self.origin, self.size);
        STANDARD.encode_string(self.root, &mut text);
        text.push('\n');
        text
    }

    /// Reads the text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (origin, digits, root) = (lines.next()?, lines.next()?, lines.next()?);
        // What follows is for extensions; the last line must have its end.
        let size: u64 = digits.parse().ok().filter(|size: &u64| size.to_string() == digits)?;
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        (text.ends_with('\n') && !origin.is_empty()).then(|| Self { origin: origin.to_owned(), size, root })
    }

    /// Reads a note that this key signed, of the log that the key is named for.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, &'static str> {
        let note = Note::parse(note).ok_or("this is no signed note")?;
        let text = note.signed_by(key).ok_or("it is not signed with the log's key")?;
        let checkpoint = Self::parse(text).ok_or("the note holds no checkpoint")?;
        if checkpoint.origin == key.name { Ok(checkpoint) } else { Err("it is a checkpoint of another log") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the note of Go's `sumdb/note` documentation.
    const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SIGNER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n";
    const SIGNATURE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn keys_and_signatures_are_those_of_the_reference() {
        let signer = SigningKey::parse(SIGNER).unwrap();
        assert_eq!(signer.verifier().text(), VERIFIER);
        assert_eq!(signer.text().trim(), SIGNER);
        let note = signer.note(TEXT);
        assert_eq!(note, format!("{TEXT}\n{SIGNATURE}"));
        let key = VerifierKey::parse(VERIFIER).unwrap();
        assert_eq!(Note::parse(&note).unwrap().signed_by(&key), Some(TEXT));
    }

    #[test]
    fn a_changed_note_is_not_signed() {
        let key = SigningKey::of_a_log().unwrap();
        let origin = key.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size: 7, root: [9; 32] };
        let note = key.note(&checkpoint.text());
        assert_eq!(Checkpoint::open(&note, key.verifier()), Ok(checkpoint));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8_lossy(&bytes);
            assert!(Checkpoint::open(&changed, key.verifier()).is_err(), "byte {at}: {changed}");
        }
        assert!(Checkpoint::open(&note, SigningKey::of_a_log().unwrap().verifier()).is_err());
    }

    #[test]
    fn what_is_no_key_is_told() {
        for text in ["", "a+b", &VERIFIER.replace("c74f20a3", "c74f20a4"), &VERIFIER.replace("+ARpc", "+BRpc"), SIGNER]
        {
            assert!(VerifierKey::parse(text).is_err(), "{text}");
        }
        for text in ["", VERIFIER, &SIGNER.replace("Peter", "Paul")] {
            assert!(SigningKey::parse(text).is_err(), "{text}");
        }
    }
}
