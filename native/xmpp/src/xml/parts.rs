//! How many parts a document has: making terms of it costs something for each part, however short.

use super::tree::Builder;
use crate::error::XmlError;

/// How many attributes all elements together may have, for each element that is allowed.
const ATTRIBUTES_PER_ELEMENT: usize = 8;
/// No element is shorter than `<a/>`, and no attribute than ` a=''`.
const SHORTEST: usize = 4;

/// The parts of one document, counted as it is told.
#[derive(Default)]
pub(super) struct Parts {
    elements: usize,
    attributes: usize,
}

impl Parts {
    /// Whether a well-formed document has to be counted, by the bytes that elements and attributes have.
    ///
    /// As it is told an element may have an `xmlns` more, and an attribute a declaration of its prefix.
    pub(super) fn may_pass(max_elements: usize, document: &[u8]) -> bool {
        if document.len() / SHORTEST <= max_elements {
            return false;
        }
        let elements = memchr::memchr_iter(b'<', document).count();
        let attributes = memchr::memchr_iter(b'=', document).count();
        let told = elements.saturating_add(attributes.saturating_mul(2));
        elements > max_elements || told > max_attributes(max_elements)
    }

    /// Whether there are at most this many elements, and eight times as many attributes.
    pub(super) fn check(&self, max_elements: usize) -> Result<(), XmlError> {
        if self.elements > max_elements {
            let limit = max_elements;
            return Err(XmlError::TooManyElements { limit });
        }
        if self.attributes > max_attributes(max_elements) {
            let limit = max_attributes(max_elements);
            return Err(XmlError::TooManyAttributesInAll { limit });
        }
        Ok(())
    }
}

fn max_attributes(max_elements: usize) -> usize {
    max_elements.saturating_mul(ATTRIBUTES_PER_ELEMENT)
}

impl Builder for Parts {
    fn start(&mut self, _name: &str) {
        self.elements += 1;
    }

    fn attribute(&mut self, _name: &str, _value: &str) {
        self.attributes += 1;
    }

    fn text(&mut self, _text: &str) {}

    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::xml::build;

    fn check(document: &[u8], max_elements: usize) -> Result<(), XmlError> {
        let limits = Limits::of_trunk(1 << 20);
        build(document, &limits, max_elements, &mut Parts::default())
    }

    fn elements(count: usize) -> String {
        format!("<a>{}</a>", "<b>x</b>".repeat(count - 1))
    }

    /// Of each shape as many as may be, and one more.
    #[track_caller]
    fn at_most(limit: usize, document: impl Fn(usize) -> String, parts: usize) {
        assert_eq!(check(document(parts).as_bytes(), limit), Ok(()));
        assert!(check(document(parts + 1).as_bytes(), limit).is_err());
    }

    #[test]
    fn elements_are_counted_however_they_are_written() {
        at_most(10, elements, 10);
        at_most(
            10,
            |count| format!("<a>{}</a>", "<b/>".repeat(count - 1)),
            10,
        );
        at_most(10, |count| "<a>".repeat(count) + &"</a>".repeat(count), 10);
        assert_eq!(
            check(elements(11).as_bytes(), 10),
            Err(XmlError::TooManyElements { limit: 10 })
        );
    }

    #[test]
    fn attributes_are_counted_in_all() {
        let tag = |count: usize| {
            let attributes: String = (0..count).map(|n| format!(" a{n}=''")).collect();
            format!("<b{attributes}/>")
        };
        at_most(2, |count| format!("<a>{}</a>", tag(count)), 16);
        at_most(
            3,
            |count| format!("<a>{}{}</a>", tag(20), tag(count - 20)),
            24,
        );
        at_most(
            1,
            |count| format!("<a xmlns='u'{}", &tag(count - 1)[2..]),
            8,
        );
        assert_eq!(
            check(tag(9).as_bytes(), 1),
            Err(XmlError::TooManyAttributesInAll { limit: 8 })
        );
    }

    #[test]
    fn those_of_another_spelling_count() {
        // Its root is told with an xmlns, and its child with another.
        let child = |count: usize| {
            let own: String = (3..count).map(|n| format!(" c{n}=''")).collect();
            format!("<p:a xmlns:p='u'><b{own}/></p:a>")
        };
        at_most(4, child, 32);
        // Where a prefix is used it is declared, once more.
        let prefixed = |count: usize| {
            let each =
                |text: &dyn Fn(usize) -> String| (0..count / 3).map(text).collect::<String>();
            let declared = each(&|n| format!(" xmlns:p{n}='u{n}'"));
            let used = each(&|n| format!(" p{n}:a=''"));
            let rest = " c=''".repeat(count % 3);
            format!("<a{declared}><b{used}{rest}/></a>")
        };
        at_most(6, prefixed, 48);
    }

    #[test]
    fn what_only_looks_like_parts_is_none() {
        let text = "=".repeat(1000) + "<![CDATA[" + &"<b a='1'/>".repeat(1000) + "]]>";
        for document in [
            format!("<a>{text}</a>"),
            format!("<a b='{}'/>", "=".repeat(1000)),
            format!("<a>{}</a>", "&lt;b/>".repeat(1000)),
            format!("<a>{}</a>", "x<![CDATA[]]>".repeat(1000)),
        ] {
            assert_eq!(check(document.as_bytes(), 1), Ok(()), "{document:.40}");
        }
    }
}
