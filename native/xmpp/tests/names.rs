//! A name is its namespace and its local part, and no prefix.
//!
//! One tree written in many ways, with any prefixes, declared anywhere, is told of as one and the same,
//! however it came: alone, in an XML stream, or in a request's body.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use megaphone_xmpp::stream::{Event, Reader};
use megaphone_xmpp::{Limits, bosh, escape, framing, namespace, xml};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// An element as it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Element {
    name: String,
    namespace: String,
    /// By namespace and local name.
    attributes: BTreeMap<(String, String), String>,
    children: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Element(Element),
    Text(String),
}

const NAMESPACES: &[&str] = &[
    namespace::CLIENT,
    namespace::STREAM,
    namespace::SASL,
    "jabber:iq:roster",
    "urn:&'\"<>:\t",
    "",
];

fn element() -> impl Strategy<Value = Element> {
    let tag = |children: BoxedStrategy<Vec<Node>>| {
        let attribute = (
            (
                select(vec!["", "", namespace::XML, "jabber:iq:roster", "urn:a"]),
                select(vec!["to", "id", "lang"]),
            )
                .prop_map(|(namespace, name)| (namespace.to_owned(), name.to_owned())),
            "[a-zä<&' ]{0,8}",
        );
        (
            select(vec!["message", "iq", "a", "open", "ä.漢"]),
            select(NAMESPACES),
            vec(attribute, 0..3),
            children,
        )
            .prop_map(|(name, namespace, attributes, children)| Element {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                attributes: attributes.into_iter().collect(),
                children,
            })
    };
    tag(Just(vec![]).boxed()).prop_recursive(4, 24, 4, move |inner| {
        let child = prop_oneof![
            3 => inner.prop_map(Node::Element),
            1 => "[a-zä<&]{1,8}".prop_map(Node::Text),
        ];
        tag(vec(child, 0..4).boxed()).prop_map(|mut element| {
            // Two texts side by side are one.
            element
                .children
                .dedup_by(|left, right| matches!((left, right), (Node::Text(_), Node::Text(_))));
            element
        })
    })
}

/// Writes a tree; how, its choices say.
struct Writer<'a> {
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    text: String,
}

/// The namespaces of prefixes, the default one's is the empty prefix.
type InScope = BTreeMap<String, String>;

const PREFIXES: &[&str] = &["p", "q", "stream", "xmpp", "ä"];

impl<'a> Writer<'a> {
    fn new(choices: &'a [u8]) -> Self {
        Self {
            choices: choices.iter().cycle(),
            text: String::new(),
        }
    }

    fn choose(&mut self, from: usize) -> usize {
        usize::from(*self.choices.next().unwrap()) % from
    }

    fn element(&mut self, element: &Element, around: &InScope) {
        let mut scope = around.clone();
        let mut declared = InScope::new();
        // Some that nobody needs.
        if self.choose(3) == 0 {
            let prefix = PREFIXES[self.choose(PREFIXES.len())];
            let namespace = NAMESPACES[self.choose(NAMESPACES.len() - 1)];
            declare(prefix, namespace, &mut scope, &mut declared);
        }
        let prefixes: Vec<String> = element
            .attributes
            .keys()
            .map(|(namespace, _)| self.prefix(namespace, &mut scope, &mut declared))
            .collect();
        let name = match self.choose(2) {
            // It has to be the default namespace: nothing else may say that there's none.
            _ if element.namespace.is_empty() => {
                self.unprefixed(element, &mut scope, &mut declared)
            }
            0 => self.unprefixed(element, &mut scope, &mut declared),
            _ => {
                let prefix = self.prefix(&element.namespace, &mut scope, &mut declared);
                format!("{prefix}:{}", element.name)
            }
        };
        self.text.push_str(&format!("<{name}"));
        let mut attributes: Vec<String> = declared
            .iter()
            .map(|(prefix, namespace)| match &prefix[..] {
                "" => format!("xmlns='{}'", escape(namespace)),
                _ => format!("xmlns:{prefix}=\"{}\"", escape(namespace)),
            })
            .collect();
        for (((_, name), value), prefix) in element.attributes.iter().zip(&prefixes) {
            attributes.push(match &prefix[..] {
                "" => format!("{name}='{}'", escape(value)),
                _ => format!("{prefix}:{name} = '{}'", escape(value)),
            });
        }
        while !attributes.is_empty() {
            let next = attributes.remove(self.choose(attributes.len()));
            self.text.push_str(&format!(" {next}"));
        }
        self.text.push('>');
        for child in &element.children {
            match child {
                Node::Element(child) => self.element(child, &scope),
                Node::Text(text) => self.text.push_str(&escape(text)),
            }
        }
        self.text.push_str(&format!("</{name}>"));
    }

    fn unprefixed(
        &mut self,
        element: &Element,
        scope: &mut InScope,
        declared: &mut InScope,
    ) -> String {
        if scope[""] != element.namespace || self.choose(4) == 0 {
            declare("", &element.namespace, scope, declared);
        }
        element.name.clone()
    }

    /// A prefix for a namespace: one in scope, or one that is declared anew.
    fn prefix(&mut self, namespace: &str, scope: &mut InScope, declared: &mut InScope) -> String {
        if matches!(namespace, "" | namespace::XML) {
            return if namespace.is_empty() { "" } else { "xml" }.to_owned();
        }
        let in_scope = scope
            .iter()
            .find(|(prefix, other)| !prefix.is_empty() && *other == namespace);
        let declared_here = |prefix: &str| declared.contains_key(prefix);
        if let Some((prefix, _)) = in_scope
            && (declared_here(prefix) || self.choose(3) > 0)
        {
            return prefix.clone();
        }
        let mut names = PREFIXES
            .iter()
            .map(|prefix| (*prefix).to_owned())
            .chain((0..).map(|number| format!("r{number}")))
            .skip(self.choose(PREFIXES.len()));
        // One that the tag itself declares may be in use in it.
        let prefix = names
            .find(|prefix| !declared_here(prefix) && !scope.contains_key(prefix))
            .unwrap();
        declare(&prefix, namespace, scope, declared);
        prefix
    }
}

fn declare(prefix: &str, namespace: &str, scope: &mut InScope, declared: &mut InScope) {
    scope.insert(prefix.to_owned(), namespace.to_owned());
    declared.insert(prefix.to_owned(), namespace.to_owned());
}

/// The element with `declared` as the namespaces around it.
fn written(element: &Element, choices: &[u8], around: &[(&str, &str)]) -> String {
    let mut scope = InScope::from([(String::new(), String::new())]);
    for (prefix, namespace) in around {
        scope.insert((*prefix).to_owned(), (*namespace).to_owned());
    }
    let mut writer = Writer::new(choices);
    writer.element(element, &scope);
    writer.text
}

/// Puts a tree together from what is told, and checks how that is spelled.
#[derive(Default)]
struct Told {
    open: Vec<Open>,
    root: Option<Element>,
}

/// An element that is being told of.
struct Open {
    element: Element,
    /// The default namespace in it.
    default: String,
    /// The prefixes that it declares.
    declared: InScope,
    /// Attributes with a prefix, until all declarations are there.
    prefixed: Vec<(String, String)>,
}

impl Told {
    fn tag_ends(&mut self) {
        let Some(open) = self.open.last_mut() else {
            return;
        };
        let (element, declared) = (&mut open.element, &open.declared);
        for (name, value) in std::mem::take(&mut open.prefixed) {
            let (prefix, local) = name.split_once(':').unwrap();
            let namespace = match prefix {
                "xml" => namespace::XML,
                _ => declared.get(prefix).unwrap(),
            };
            let key = (namespace.to_owned(), local.to_owned());
            assert_eq!(element.attributes.insert(key, value), None);
        }
        // That is the one prefix, and it is declared where it is used.
        if let Some(local) = element.name.strip_prefix("stream:") {
            element.namespace = declared.get("stream").unwrap().clone();
            assert_eq!(element.namespace, namespace::STREAM);
            element.name = local.to_owned();
        }
        assert!(!element.name.contains(':'), "{}", element.name);
    }
}

impl xml::Builder for Told {
    fn start(&mut self, name: &str) {
        self.tag_ends();
        let default = self
            .open
            .last()
            .map_or(String::new(), |open| open.default.clone());
        let element = Element {
            name: name.to_owned(),
            namespace: default.clone(),
            attributes: BTreeMap::new(),
            children: Vec::new(),
        };
        self.open.push(Open {
            element,
            default,
            declared: InScope::new(),
            prefixed: Vec::new(),
        });
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let open = self.open.last_mut().unwrap();
        if name == "xmlns" {
            value.clone_into(&mut open.default);
            open.element.namespace = value.to_owned();
        } else if let Some(prefix) = name.strip_prefix("xmlns:") {
            open.declared.insert(prefix.to_owned(), value.to_owned());
        } else if name.contains(':') {
            open.prefixed.push((name.to_owned(), value.to_owned()));
        } else {
            let key = (String::new(), name.to_owned());
            let attributes = &mut open.element.attributes;
            assert_eq!(attributes.insert(key, value.to_owned()), None);
        }
    }

    fn text(&mut self, text: &str) {
        self.tag_ends();
        let open = self.open.last_mut().unwrap();
        open.element.children.push(Node::Text(text.to_owned()));
    }

    fn end(&mut self) {
        self.tag_ends();
        let element = self.open.pop().unwrap().element;
        match self.open.last_mut() {
            Some(parent) => parent.element.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
    }
}

fn told(document: &[u8]) -> Element {
    let mut told = Told::default();
    let result = xml::build(document, &Limits::default(), usize::MAX, &mut told);
    let text = String::from_utf8_lossy(document);
    assert_eq!(result, Ok(()), "{text}");
    told.root.unwrap()
}

/// As in a stream: who declares no namespace is in that of the stream.
fn in_client(mut element: Element) -> Element {
    if element.namespace.is_empty() {
        element.namespace = namespace::CLIENT.to_owned();
    }
    element
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_document_of_its_own(element in element(), choices in vec(any::<u8>(), 1..40)) {
        let text = written(&element, &choices, &[]);
        prop_assert_eq!(told(text.as_bytes()), element);
    }

    #[test]
    fn a_message_of_websocket(element in element(), choices in vec(any::<u8>(), 1..40)) {
        let element = in_client(element);
        let text = written(&element, &choices, &[("", namespace::CLIENT)]);
        let document = framing::check(text.as_bytes(), &Limits::default()).unwrap();
        prop_assert!(document.is(&element.name, &element.namespace));
        prop_assert_eq!(told(&document.to_vec()), element);
    }

    /// Prefixes are declared by the header, which has one itself.
    #[test]
    fn an_element_in_a_stream(element in element(), choices in vec(any::<u8>(), 1..40), own in select(PREFIXES)) {
        let around = [
            ("", namespace::CLIENT),
            (own, namespace::STREAM),
            ("z", "jabber:iq:roster"),
            ("y", namespace::CLIENT),
            ("x", namespace::SASL),
        ];
        let element = in_client(element);
        let text = format!(
            "<{own}:stream xmlns='jabber:client' xmlns:x='{}' xmlns:y='jabber:client' \
             xmlns:z='jabber:iq:roster' xmlns:{own}='{}'>{}",
            namespace::SASL,
            namespace::STREAM,
            written(&element, &choices, &around),
        );
        let mut reader = Reader::new(Limits::default());
        let mut input = text.as_bytes();
        let header = reader.read(&mut input).unwrap();
        prop_assert!(matches!(header, Some(Event::Open(_))));
        let Some(Event::Document(document)) = reader.read(&mut input).unwrap() else {
            panic!("no document in {text}");
        };
        prop_assert!(document.is(&element.name, &element.namespace));
        prop_assert_eq!(told(&document.to_vec()), element);
    }

    #[test]
    fn an_element_in_a_body(element in element(), choices in vec(any::<u8>(), 1..40), own in select(PREFIXES)) {
        let around = [
            ("", namespace::CLIENT),
            (own, namespace::HTTP_BIND),
            ("z", "jabber:iq:roster"),
        ];
        let element = in_client(element);
        let text = format!(
            "\u{feff}<{own}:body rid='1' xmlns:z='jabber:iq:roster' xmlns:{own}='{}'>{}</{own}:body>",
            namespace::HTTP_BIND,
            written(&element, &choices, &around),
        );
        let request = bosh::Request::read(text.as_bytes(), &Limits::default()).unwrap();
        let [document] = &request.payload[..] else {
            panic!("{request:?}");
        };
        prop_assert!(document.is(&element.name, &element.namespace));
        prop_assert_eq!(told(&document.to_vec()), element);
    }
}
