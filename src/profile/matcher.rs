//! From method and path segments to an endpoint: a tree with one level per segment.
//!
//! A look-up walks the tree and allocates nothing; its cost depends on the length of the path, not on the number of
//! endpoints (a binary search among the hashes of one level's literals aside). At each level the literal is tried first; when
//! it leads to no endpoint with the method, the parameter is tried. So `GET /v2/products/bulkdelete` is the product
//! named `bulkdelete`, because only POST has that word: the way ASP.NET routes.

use http::Method;

use super::{Endpoint, Found, Segment};

/// The tree; node 0 is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    nodes: Vec<Node>,
}

/// What may follow, and what ends here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// Hashes of the literals, sorted: one row of numbers to search in.
    hashes: Vec<u32>,
    /// Lower-case literals, in the same order, with their nodes.
    literals: Vec<(Box<str>, usize)>,
    /// Where any other segment leads.
    param: Option<usize>,
    /// Endpoints that end here.
    endpoints: Vec<(Method, usize)>,
}

impl Matcher {
    /// A tree without endpoints.
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds an endpoint under an index. Parameter names do not matter: an endpoint that would be found by exactly the
    /// same requests as an earlier one is refused with the earlier one's index.
    pub(super) fn add(&mut self, endpoint: &Endpoint, index: usize) -> Result<(), usize> {
        let mut at = 0;
        for segment in &endpoint.segments {
            at = match segment {
                Segment::Literal(text) => self.literal_child(at, text),
                Segment::Param(_) => self.param_child(at),
            };
        }
        let node = &mut self.nodes[at];
        if let Some((_, earlier)) = node.endpoints.iter().find(|(method, _)| *method == endpoint.method) {
            return Err(*earlier);
        }
        node.endpoints.push((endpoint.method.clone(), index));
        Ok(())
    }

    /// See [`super::Profile::find`].
    pub(super) fn find<S: AsRef<str>>(&self, method: &Method, segments: &[S]) -> Found {
        if let Some(index) = self.search(0, segments, method) {
            return Found::Endpoint(index);
        }
        let mut methods = Vec::new();
        self.methods(0, segments, &mut methods);
        if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
    }

    /// Depth first, literal before parameter; the tree's own depth bounds the recursion.
    fn search<S: AsRef<str>>(&self, at: usize, segments: &[S], method: &Method) -> Option<usize> {
        let node = &self.nodes[at];
        let Some((first, rest)) = segments.split_first() else { return node.endpoint(method) };
        let first = first.as_ref();
        let by_literal = node.literal(first).and_then(|next| self.search(next, rest, method));
        by_literal.or_else(|| self.search(node.param_for(first)?, rest, method))
    }

    /// Collects the methods of every template that fits.
    fn methods<S: AsRef<str>>(&self, at: usize, segments: &[S], methods: &mut Vec<Method>) {
        let node = &self.nodes[at];
        let Some((first, rest)) = segments.split_first() else {
            let new = node.endpoints.iter().map(|(method, _)| method);
            for method in new {
                if !methods.contains(method) {
                    methods.push(method.clone());
                }
            }
            return;
        };
        let first = first.as_ref();
        for next in [node.literal(first), node.param_for(first)].into_iter().flatten() {
            self.methods(next, rest, methods);
        }
    }

    fn literal_child(&mut self, at: usize, text: &str) -> usize {
        if let Some(child) = self.nodes[at].literal(text) {
            return child;
        }
        let child = self.push();
        let (node, hash) = (&mut self.nodes[at], folded_hash(text));
        let position = node.hashes.partition_point(|known| *known < hash);
        node.hashes.insert(position, hash);
        node.literals.insert(position, (text.to_ascii_lowercase().into_boxed_str(), child));
        child
    }

    fn param_child(&mut self, at: usize) -> usize {
        if let Some(child) = self.nodes[at].param {
            return child;
        }
        let child = self.push();
        self.nodes[at].param = Some(child);
        child
    }

    fn push(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }
}

impl Node {
    fn literal(&self, segment: &str) -> Option<usize> {
        let is = |(known, _): &&(Box<str>, usize)| is_word(segment, known);
        if self.literals.len() < 2 {
            return self.literals.first().filter(is).map(|(_, next)| *next);
        }
        let hash = folded_hash(segment);
        let first = self.hashes.partition_point(|known| *known < hash);
        let same = self.hashes[first..].iter().take_while(|known| **known == hash).count();
        self.literals[first..first + same].iter().find(is).map(|(_, next)| *next)
    }

    /// A parameter is never empty.
    fn param_for(&self, segment: &str) -> Option<usize> {
        self.param.filter(|_| !segment.is_empty())
    }

    fn endpoint(&self, method: &Method) -> Option<usize> {
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        self.endpoints.iter().find(|(method, _)| method == wanted).map(|(_, index)| *index)
    }
}

/// Whether a segment is this word, ASCII case ignored. Nearly all are sent as they are documented.
pub(crate) fn is_word(segment: &str, word: &str) -> bool {
    segment == word || segment.eq_ignore_ascii_case(word)
}

/// A hash that is the same in either case, eight bytes at a time: 0x20 is what tells the cases apart (and some marks, which
/// then share a hash). Literals come from the profile, so nobody outside can make two of them collide; what a client sends is
/// compared in full.
fn folded_hash(segment: &str) -> u32 {
    const CASE: u64 = u64::from_le_bytes([0x20; 8]);
    // The odd constant of FxHash.
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ (word | CASE)).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (mut rest, mut hash) = (segment.as_bytes(), segment.len() as u64);
    while let Some((word, behind)) = rest.split_first_chunk::<8>().filter(|(_, behind)| !behind.is_empty()) {
        hash = mix(hash, u64::from_le_bytes(*word));
        rest = behind;
    }
    // The upper half of a product depends on all of both factors.
    u32::try_from(mix(hash, up_to_eight(rest)) >> 32).unwrap_or_default()
}

/// All bytes of a short text in one number; the two halves may overlap.
fn up_to_eight(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)),
        _ => bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_literals_with_one_hash_are_told_apart() {
        // They differ in 0x20 alone, and not by a letter's case.
        assert_eq!(folded_hash("reports@shop"), folded_hash("reports`shop"));
        let mut matcher = Matcher::new();
        for word in ["a", "b", "c", "d"] {
            matcher.literal_child(0, word);
        }
        let (one, other) = (matcher.literal_child(0, "reports@shop"), matcher.literal_child(0, "Reports`shop"));
        assert_ne!(one, other);
        let node = &matcher.nodes[0];
        assert_eq!(
            [node.literal("reports@SHOP"), node.literal("reports`shop"), node.literal("reports")],
            [Some(one), Some(other), None]
        );
    }

    #[test]
    fn a_word_is_found_in_either_case_whatever_its_length() {
        let words: Vec<String> = (1..=40).map(|n| "abcdefghij".repeat(4)[..n].to_owned()).collect();
        let mut matcher = Matcher::new();
        let children: Vec<usize> = words.iter().map(|word| matcher.literal_child(0, word)).collect();
        for (word, child) in words.iter().zip(children) {
            let node = &matcher.nodes[0];
            assert_eq!([node.literal(word), node.literal(&word.to_ascii_uppercase())], [Some(child); 2], "{word}");
            // Another last letter.
            assert_eq!(node.literal(&format!("{}x", &word[..word.len() - 1])), None, "{word}");
        }
    }
}
