"""What travels between a view and Python."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.widgets import protocol


def _read_page(value):
    """Decode what `to_page` wrote, as a page does."""
    if isinstance(value, dict) and "$dtype" in value:
        raw = base64.b64decode(value["base64"])
        return np.frombuffer(raw, np.dtype(value["$dtype"]).newbyteorder("<")).reshape(
            value["shape"]
        )
    if isinstance(value, dict):
        return {key: _read_page(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read_page(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[1, 2], [3, -4]], np.int64), "int32"),
        (np.array([2**40, -(2**40)], np.int64), "float64"),
        (np.array([True, False]), "uint8"),
        (np.array([1.5, np.nan], np.float16), "float32"),
        (np.array([1e-40, np.inf], np.float64), "float64"),
        (np.array([], np.int64), "int32"),
        (np.arange(12, dtype=np.float32).reshape(3, 4).T, "float32"),
        (np.array([1, 2], ">f4"), "float32"),
        (np.array(3, np.float32), "float32"),
    ],
)
def test_arrays_keep_their_values_in_every_transport(array, dtype):
    content, buffers = protocol.to_message({"a": [array]})
    head = content["a"][0]
    assert head["$dtype"] == dtype
    assert head["shape"] == list(array.shape)
    stored = np.frombuffer(buffers[head["buffer"]], np.dtype(dtype)).reshape(array.shape)
    np.testing.assert_array_equal(stored, array.astype(stored.dtype))
    assert protocol.to_trait(array)["data"] == buffers[0]
    np.testing.assert_array_equal(_read_page(protocol.to_page(array)), stored)


def test_every_array_of_a_message_has_its_own_buffer():
    content, buffers = protocol.to_message({"a": np.zeros(3), "b": {"c": np.ones(2)}})
    assert [content["a"]["buffer"], content["b"]["c"]["buffer"]] == [0, 1]
    assert [len(buffer) for buffer in buffers] == [24, 16]


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.array(["a"]), {1, 2}, 1j, np.array([2**60])]
)
def test_what_cannot_be_sent_is_refused(value):
    with pytest.raises(InputError, match="view"):
        protocol.to_message({"x": value})


def test_numbers_and_text_that_json_cannot_hold():
    content, _ = protocol.to_message(
        {"nan": float("nan"), "inf": np.float32("inf"), "text": "a\ud800b", "n": np.int64(3)}
    )
    assert content == {"nan": None, "inf": None, "text": "a\ufffdb", "n": 3}
    json.dumps(content, allow_nan=False)
    assert protocol.describe(ValueError("\udfff"))["message"] == "\ufffd"
    assert protocol.describe(KeyError())["message"] == "KeyError()"


class _Scripts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.data: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.data.append(data)


@given(st.text() | st.sampled_from(["</script>", "<!--<script>", "]]>", "\u2028", "&lt;"]))
def test_embedded_json_stays_inside_its_element_and_reads_back(text):
    data = {"text": text, text: [1]}
    embedded = protocol.embed_json(protocol.to_page(data))
    assert embedded.isascii()
    assert not re.search(r"[<>&\u2028\u2029]", embedded)
    parser = _Scripts()
    parser.feed(f'<script type="application/json">{embedded}</script>')
    parser.close()
    assert parser.tags == ["script"]
    clean = re.sub("[\ud800-\udfff]", "\ufffd", text)
    assert json.loads("".join(parser.data))["text"] == clean


def test_requests_are_read_and_refused():
    request = protocol.parse_request(
        {"id": "ab-7", "kind": "read", "params": {"text": "x"}, "channel": "c"}
    )
    assert request is not None
    assert (request.kind, request.params, request.lane) == ("read", {"text": "x"}, "ab:c")
    assert protocol.parse_request({"id": "ab-8", "kind": "sae"}).channel == "sae"
    for other in (None, 3, [], {}, {"id": 3, "kind": "read"}):
        assert protocol.parse_request(other) is None
    for wrong in (
        {"id": "a-1"},
        {"id": "a-1", "kind": 3},
        {"id": "a-1", "kind": "x", "params": []},
        {"id": "a-1", "kind": "x", "policy": "first"},
    ):
        with pytest.raises(InputError):
            protocol.parse_request(wrong)
