"""What options.py and links.py make of texts."""

import unittest

import differences
import links
import manual
import options

SAMPLE = """\
# Of the file.

# How many.
# All of them.
threads = 0

# Where.
[trunk]
# The address: HOST:PORT.
address = "a:1"
# A name, as in X-Forwarded-For. Past it: <policy-violation/>.
# name = "b"

# [[listener]]
# The address again.
# address = "c:2"
"""


class Options(unittest.TestCase):
    def test_tables_have_their_keys_defaults_and_comments(self) -> None:
        sections = options.ecm_sections(SAMPLE)
        self.assertEqual(list(sections), ["", "[trunk]", "[[listener]]"])
        self.assertEqual(sections[""].rows, {"threads": ("`0`", "How many. All of them.")})
        self.assertEqual(sections["[trunk]"].text, "Where.")
        self.assertEqual(
            sections["[trunk]"].rows,
            {
                "address": ('`"a:1"`', "The address: HOST:PORT."),
                "name": ('none; such as `"b"`', "A name, as in `X-Forwarded-For`. Past it: `<policy-violation/>`."),
            },
        )

    def test_a_key_without_a_comment_is_refused(self) -> None:
        with self.assertRaisesRegex(options.DocumentError, "no comment above .*threads"):
            options.ecm_tables("threads = 0\n")

    def test_a_key_that_is_not_understood_is_refused(self) -> None:
        with self.assertRaisesRegex(options.DocumentError, "not understood: trunk"):
            options.ecm_tables("# How many.\nthreads = 0\n# Where.\ntrunk.address = 'a'\n")

    def test_a_bar_does_not_end_a_cell(self) -> None:
        self.assertEqual(options.table(("a", ""), ("b|c", "")), "| a | |\n|---|---|\n| b\\|c | |")

    def test_parts_go_between_their_markers(self) -> None:
        document = "before\n<!-- options: ecm -->\nold\n<!-- /options: ecm -->\nafter\n"
        new = options.written(document, {"ecm": "new"})
        self.assertEqual(new, "before\n<!-- options: ecm -->\n\nnew\n\n<!-- /options: ecm -->\nafter\n")
        self.assertEqual(options.written(new, {"ecm": "new"}), new)
        with self.assertRaises(options.DocumentError):
            options.written("nothing", {"ecm": "new"})


class Manual(unittest.TestCase):
    def test_each_key_is_a_paragraph_with_its_default(self) -> None:
        page = manual.written(SAMPLE)
        self.assertIn('.SH "TOP LEVEL"\n.TP\n\\fBthreads\\fR = \\fB0\\fR\nHow many.\nAll of them.\n', page)
        self.assertIn('.SH "[trunk]"\nWhere.\n.TP\n\\fBaddress\\fR = \\fB"a:1"\\fR\n', page)
        self.assertIn('\\fBname\\fR = none; such as \\fB"b"\\fR\n', page)

    def test_nothing_of_a_text_is_a_command_of_groff(self) -> None:
        self.assertEqual(manual.paragraph(".a\\b 'c'"), ["\\&.a\\eb \\(aqc\\(aq"])
        self.assertEqual(manual.inline("a `--b` c"), "a \\fB\\-\\-b\\fR c")


class Differences(unittest.TestCase):
    def test_what_is_heard_several_times_on_end_stands_once(self) -> None:
        self.assertEqual(differences.heard("a\x1ea\x1eb"), "`a` (2 times)<br>`b`")
        self.assertEqual(differences.heard(""), "nothing")

    def test_what_the_client_does_is_said_once(self) -> None:
        rows = [["A client leaves", by, "all", "a", "", "It may."] for by in ("tcp", "bosh")]
        document = differences.written(rows)
        self.assertEqual(document.count("## A client leaves\n"), 1)
        self.assertIn("| BOSH, every ejabberd | `a` | nothing | It may. |", document)


class Links(unittest.TestCase):
    def test_links_in_the_project_are_found_and_no_others(self) -> None:
        text = "[a](b.md) [c](https://d.example) ![e](f.svg)\n```\n[g](h)\n```\n[i](#j)\n"
        self.assertEqual(links.links(text), ["b.md", "f.svg", "#j"])

    def test_headings_have_anchors(self) -> None:
        text = "# Its status\n## What a client did not get\n```\n# none\n```\n### `[trunk]`\n"
        self.assertEqual(links.anchors(text), {"its-status", "what-a-client-did-not-get", "trunk"})


if __name__ == "__main__":
    unittest.main()
