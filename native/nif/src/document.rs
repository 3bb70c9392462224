//! Documents as the terms of fxml: `{xmlel, Name, Attributes, Children}` and `{xmlcdata, Text}`.

use megaphone_xmpp::xml::{self, Builder};
use megaphone_xmpp::{Condition, Limits};
use rustler::types::tuple::make_tuple;
use rustler::{Binary, Encoder, Env, Term};

use crate::atoms;
use crate::text::text;

/// The term of a document, `{error, too_big}` if it passes a limit, or `{error, Text}`.
pub(crate) fn term<'a>(env: Env<'a>, document: &Binary<'a>, max_elements: usize) -> Term<'a> {
    // One more than there is: what is cut short is unfinished, not too long.
    let limits = Limits::of_trunk(document.len().saturating_add(1));
    let mut elements = Elements {
        env,
        open: Vec::new(),
        attributes: Vec::new(),
        children: Vec::new(),
    };
    match xml::build(document.as_slice(), &limits, max_elements, &mut elements) {
        Ok(()) => elements.children.pop().unwrap_or(atoms::none().encode(env)),
        Err(error) if error.condition() == Condition::PolicyViolation => {
            (atoms::error(), atoms::too_big()).encode(env)
        }
        Err(error) => (atoms::error(), text(env, &error.to_string())).encode(env),
    }
}

struct Elements<'a> {
    env: Env<'a>,
    /// Those around, the innermost last.
    open: Vec<Open<'a>>,
    /// Of the element that has just started.
    attributes: Vec<Term<'a>>,
    /// Of all that are open, those of the innermost last.
    children: Vec<Term<'a>>,
}

struct Open<'a> {
    name: Term<'a>,
    /// As long as more of them may follow there are none.
    attributes: Option<Term<'a>>,
    /// How many of the children are not its own.
    before: usize,
}

impl Elements<'_> {
    /// No more attributes follow.
    fn fill(&mut self) {
        let Some(open) = self.open.last_mut() else {
            return;
        };
        if open.attributes.is_none() {
            open.attributes = Some(list(self.env, &self.attributes));
            self.attributes.clear();
        }
    }
}

impl Builder for Elements<'_> {
    fn start(&mut self, name: &str) {
        self.fill();
        self.open.push(Open {
            name: text(self.env, name),
            attributes: None,
            before: self.children.len(),
        });
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let pair = [text(self.env, name), text(self.env, value)];
        self.attributes.push(make_tuple(self.env, &pair));
    }

    fn text(&mut self, characters: &str) {
        self.fill();
        let data = [
            atoms::xmlcdata().encode(self.env),
            text(self.env, characters),
        ];
        self.children.push(make_tuple(self.env, &data));
    }

    fn end(&mut self) {
        self.fill();
        let Some(open) = self.open.pop() else { return };
        let children = self.children.get(open.before..).unwrap_or_default();
        let element = [
            atoms::xmlel().encode(self.env),
            open.name,
            open.attributes.unwrap_or(Term::list_new_empty(self.env)),
            list(self.env, children),
        ];
        self.children.truncate(open.before);
        self.children.push(make_tuple(self.env, &element));
    }
}

fn list<'a>(env: Env<'a>, terms: &[Term<'a>]) -> Term<'a> {
    terms
        .iter()
        .rev()
        .fold(Term::list_new_empty(env), |list, term| {
            list.list_prepend(*term)
        })
}
