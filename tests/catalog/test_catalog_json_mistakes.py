"""What people write that JSON does not have: what it is, and at which line and column."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalog import document, parse
from gateway.errors import ConfigError

TAKE_OUT = "a comma with nothing after it; take it out"
CONTROL = "a line break or control character inside of a text; close the text, or write \\n"
ESCAPE = "a \\ that starts no escape of JSON; write \\\\ for the character itself"
DOUBLE = 'write it in "double quotes"'


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('{\n  "apps": [],\n}', "line 2, column 13", TAKE_OUT),
        ('{"apps": [1,\n 2, ]}', "line 2, column 3", TAKE_OUT),
        ('{"apps": [1,, 2]}', "line 1, column 13", "a comma with nothing before it; take it out"),
        ('{, "apps": []}', "line 1, column 2", "a comma with nothing before it; take it out"),
        ('{\n  // the apps\n  "apps": []}', "line 2, column 3", "a comment, which JSON does not have; take it out"),
        ('{"apps": [] /* none */}', "line 1, column 13", "a comment, which JSON does not have; take it out"),
        ('{"apps": []} # none', "line 1, column 14", "a comment, which JSON does not have; take it out"),
        ("{'apps': []}", "line 1, column 2", f"a text in single quotes; {DOUBLE}"),
        ("{\"apps\": ['a']}", "line 1, column 11", f"a text in single quotes; {DOUBLE}"),
        ('{\u201capps\u201d: []}', "line 1, column 2", f"a text in typographic quotes; {DOUBLE}"),
        ('{"apps": []\n "routing": {}}', "line 1, column 12", "a comma is missing"),
        ('{"apps": [{"id": "a"}\n{"id": "b"}]}', "line 1, column 22", "a comma is missing"),
        ('{"apps" []}', "line 1, column 8", "a colon is missing after the key"),
        ('{apps: []}', "line 1, column 2", f"a key without quotes; {DOUBLE}"),
        ('{"apps": True}', "line 1, column 10", "True instead of true"),
        ('{"apps": None}', "line 1, column 10", "None instead of null"),
        ('{"apps": sk_live_hunter2}', "line 1, column 10", f"a text without quotes; {DOUBLE}"),
        ('{"apps": .5}', "line 1, column 10", "a number as JSON has none; it has such as 1.5 and -2"),
        ('{"apps": [', "line 1, column 11", "the end is missing: a text, a } or a ] is not closed"),
        ('{"apps": ["a}', "line 1, column 11", "a text that is not closed"),
        ('{"apps": ["a\nb"]}', "line 1, column 13", CONTROL),
        ('{"apps": ["C:\\data"]}', "line 1, column 14", ESCAPE),
        ('{"apps": []}}', "line 1, column 13", "something stands behind the end of the document"),
        ('{"apps": }', "line 1, column 10", "a value or key is missing before }"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_position(text: str, place: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "apps.json")
    assert caught.value.problems == (f"apps.json: is not JSON: {place}: {message}",)


def test_each_repeated_key_has_its_path_and_the_place_of_its_repetition() -> None:
    text = '{"apps": [\n  {"id": "a", "tiers": [{"id": "x", "id": "y"}],\n   "id": "b"}\n]}'
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "apps.json")
    message = [line for line in caught.value.problems if "more than once" in line]
    assert message == [
        "apps.json: apps[0].id: this key stands here more than once: again at line 3, column 4",
        "apps.json: apps[0].tiers[0].id: this key stands here more than once: again at line 2, column 37",
    ]


def test_utf_8_with_a_byte_order_mark_is_read_and_other_encodings_are_named() -> None:
    assert parse(b'\xef\xbb\xbf{"apps": []}').apps == {}
    for encoding, message in (("utf-16", "is UTF-16, expected UTF-8"), ("utf-32", "is UTF-32, expected UTF-8")):
        with pytest.raises(ConfigError, match=message):
            parse('{"apps": []}'.encode(encoding))
    with pytest.raises(ConfigError, match=r"line 2 is not UTF-8 \(byte 0xfc; Windows-1252\?\)"):
        parse('{"apps":\n "f\u00fcr"}'.encode("cp1252"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text('a"\\{}[],:\n\u00e9', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"b:,', max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=400)
@given(st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3), st.data())
def test_any_invalid_document_is_reported_without_its_values(tree: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(tree, ensure_ascii=False)
    place = data.draw(st.integers(0, len(text)))
    broken = (
        text[:place]
        + data.draw(st.sampled_from(["", ",", "}", "]", '"', "'", "//", "\n", "\\", "hunter2", ":"]))
        + text[place + 1 :]
    )
    message = ""
    try:
        document.read(broken.encode())
    except document.NotJsonObject as exc:
        message = str(exc)
    assert "hunter2" not in message
    assert message == "" or message.startswith(("is not JSON: line ", "expected an object", "is empty"))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=1), st.integers(0, 9)), max_size=6))
def test_a_key_is_reported_once_for_each_repetition(pairs: list[tuple[str, int]]) -> None:
    text = "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in pairs) + "}"
    _, found = document.read(text.encode())
    assert len(found) == len(pairs) - len({key for key, _ in pairs})
