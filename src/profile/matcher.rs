//! From method and path segments to an endpoint: a tree with one level per segment.
//!
//! A look-up walks the tree and allocates nothing; its cost depends on the length of the path, not on the number of
//! endpoints (a binary search among the literals of one level aside). At each level the literal is tried first; when
//! it leads to no endpoint with the method, the parameter is tried. So `GET /v2/products/bulkdelete` is the product
//! named `bulkdelete`, because only POST has that word: the way ASP.NET routes.

use std::cmp::Ordering;

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
    /// Lower-case literals, sorted, with their nodes.
    literals: Vec<(Box<[u8]>, usize)>,
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
    pub(super) fn find(&self, method: &Method, segments: &[&str]) -> Found {
        if let Some(index) = self.search(0, segments, method) {
            return Found::Endpoint(index);
        }
        let mut methods = Vec::new();
        self.methods(0, segments, &mut methods);
        if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
    }

    /// Depth first, literal before parameter; the tree's own depth bounds the recursion.
    fn search(&self, at: usize, segments: &[&str], method: &Method) -> Option<usize> {
        let node = &self.nodes[at];
        let Some((first, rest)) = segments.split_first() else { return node.endpoint(method) };
        let by_literal = node.literal(first).and_then(|next| self.search(next, rest, method));
        by_literal.or_else(|| self.search(node.param_for(first)?, rest, method))
    }

    /// Collects the methods of every template that fits.
    fn methods(&self, at: usize, segments: &[&str], methods: &mut Vec<Method>) {
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
        for next in [node.literal(first), node.param_for(first)].into_iter().flatten() {
            self.methods(next, rest, methods);
        }
    }

    fn literal_child(&mut self, at: usize, text: &str) -> usize {
        let word = text.to_ascii_lowercase().into_bytes().into_boxed_slice();
        match self.nodes[at].literals.binary_search_by(|(known, _)| known.cmp(&word)) {
            Ok(position) => self.nodes[at].literals[position].1,
            Err(position) => {
                let child = self.push();
                self.nodes[at].literals.insert(position, (word, child));
                child
            }
        }
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
        let position = self.literals.binary_search_by(|(known, _)| folded_cmp(known, segment)).ok()?;
        Some(self.literals[position].1)
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

/// Compares a lower-case literal with a segment whose ASCII case does not matter.
fn folded_cmp(lower: &[u8], segment: &str) -> Ordering {
    lower.iter().copied().cmp(segment.bytes().map(|byte| byte.to_ascii_lowercase()))
}
