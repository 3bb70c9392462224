//! Names as ejabberd spells them. It knows elements by their name as written and by `xmlns`; to Namespaces
//! in XML any prefix may stand for either.

use std::collections::HashMap;
use std::rc::Rc;

use super::tree::Builder;
use crate::error::XmlError;
use crate::limits::most_added;
use crate::namespace;

/// The prefix of streams' own elements, by which ejabberd knows them.
const STREAM: &str = "stream";

/// Tells a builder of a document as ejabberd spells it:
///
/// - An element has no prefix. It has `xmlns` where its namespace is not that of the elements around it.
/// - Those of streams themselves, as `<stream:error/>`, have the prefix `stream`.
/// - Attributes keep their prefixes, which are declared on the element that has them: ejabberd may take it
///   out of the one around it.
/// - Other declarations stay where they are. Text may depend on them.
pub(super) struct Spelling<'b, B> {
    builder: &'b mut B,
    /// The namespaces of each prefix, the innermost last.
    prefixes: HashMap<String, Vec<Rc<str>>>,
    /// The elements around.
    open: Vec<Open>,
    /// The tag that is being told of.
    tag: Option<Tag>,
    /// Bytes that declarations may still add.
    room: usize,
    limit: usize,
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

/// An element.
struct Open {
    /// Prefixes, sorted.
    declares: Vec<String>,
    /// The default namespace in it, as the document has it and as the builder was told.
    default: Rc<str>,
    told: Rc<str>,
}

impl<'b, B: Builder> Spelling<'b, B> {
    /// For a document of this many bytes.
    pub(super) fn new(builder: &'b mut B, length: usize) -> Self {
        let limit = most_added(length);
        Self {
            builder,
            prefixes: HashMap::new(),
            open: Vec::new(),
            tag: None,
            room: limit,
            limit,
        }
    }

    /// Whether all was told, once the document is.
    pub(super) fn finish(self) -> Result<(), XmlError> {
        match self.room {
            0 => Err(XmlError::TooManyNamespaces { limit: self.limit }),
            _ => Ok(()),
        }
    }

    /// Tells of the tag, of which nothing more follows.
    fn tag_ends(&mut self) {
        let Some(Tag { name, attributes }) = self.tag.take() else {
            return;
        };
        let around = self.open.last();
        let (default, told) = around.map_or_else(Default::default, |around| {
            (Rc::clone(&around.default), Rc::clone(&around.told))
        });
        let mut open = Open {
            declares: Vec::new(),
            default,
            told,
        };
        self.declare(&attributes, &mut open);
        let namespace = match split(&name) {
            ("", _) => Rc::clone(&open.default),
            ("xml", _) => namespace::XML.into(),
            (prefix, _) => self.namespace(prefix).unwrap_or_default(),
        };
        let (_, local) = split(&name);
        let mut added = Vec::new();
        match &*namespace {
            // It can't be a default.
            namespace::XML => self.builder.start(&name),
            namespace::STREAM if self.has_stream_prefix() => {
                self.builder.start(&format!("{STREAM}:{local}"));
                added.push(STREAM);
            }
            _ => {
                self.builder.start(local);
                if namespace != open.told {
                    self.add("xmlns", &namespace);
                    open.told = namespace;
                }
            }
        }
        let (declarations, others): (Vec<_>, Vec<_>) = attributes
            .iter()
            .filter(|(name, _)| name != "xmlns")
            .partition(|(name, _)| name.starts_with("xmlns:"));
        for (name, value) in declarations {
            self.builder.attribute(name, value);
        }
        let used = others.iter().map(|(name, _)| split(name).0);
        added.extend(used.filter(|prefix| !matches!(*prefix, "" | "xml")));
        added.sort_unstable();
        added.dedup();
        for prefix in added {
            if open
                .declares
                .binary_search_by(|it| it.as_str().cmp(prefix))
                .is_err()
            {
                let namespace = self.namespace(prefix);
                let namespace = namespace.unwrap_or_else(|| namespace::STREAM.into());
                self.add(&format!("xmlns:{prefix}"), &namespace);
            }
        }
        for (name, value) in others {
            self.builder.attribute(name, value);
        }
        self.open.push(open);
    }

    /// Takes the declarations of a tag.
    fn declare(&mut self, attributes: &[(String, String)], open: &mut Open) {
        for (name, value) in attributes {
            if name == "xmlns" {
                open.default = value.as_str().into();
            } else if let Some(prefix) = name.strip_prefix("xmlns:") {
                let namespaces = self.prefixes.entry(prefix.to_owned()).or_default();
                namespaces.push(value.as_str().into());
                open.declares.push(prefix.to_owned());
            }
        }
        open.declares.sort_unstable();
    }

    fn namespace(&self, prefix: &str) -> Option<Rc<str>> {
        self.prefixes.get(prefix)?.last().cloned()
    }

    /// Whether the prefix `stream` stands for nothing else.
    fn has_stream_prefix(&self) -> bool {
        self.namespace(STREAM)
            .is_none_or(|namespace| *namespace == *namespace::STREAM)
    }

    /// Tells of a declaration, as long as there is room.
    fn add(&mut self, name: &str, namespace: &str) {
        let length = name.len() + namespace.len() + " =''".len();
        self.room = self.room.saturating_sub(length);
        if self.room > 0 {
            self.builder.attribute(name, namespace);
        }
    }
}

impl<B: Builder> Builder for Spelling<'_, B> {
    fn start(&mut self, name: &str) {
        self.tag_ends();
        self.tag = Some(Tag {
            name: name.to_owned(),
            attributes: Vec::new(),
        });
    }

    fn attribute(&mut self, name: &str, value: &str) {
        if let Some(tag) = &mut self.tag {
            tag.attributes.push((name.to_owned(), value.to_owned()));
        }
    }

    fn text(&mut self, text: &str) {
        self.tag_ends();
        self.builder.text(text);
    }

    fn end(&mut self) {
        self.tag_ends();
        let Some(open) = self.open.pop() else { return };
        for prefix in open.declares {
            if let Some(namespaces) = self.prefixes.get_mut(&prefix) {
                namespaces.pop();
            }
        }
        self.builder.end();
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}
