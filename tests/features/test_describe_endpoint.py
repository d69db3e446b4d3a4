"""Describing and scoring through an OpenAI-compatible endpoint: a small HTTP server of the test."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import index_fixtures
import numpy as np
import pytest

from workbench.errors import InputError, WorkbenchError
from workbench.features.describe import (
    DescribeSettings,
    Endpoint,
    Excerpt,
    Question,
    describe,
    gather,
)
from workbench.features.describe.prompts import description_of, label_messages, read_answers
from workbench.features.refs import FeatureRef

SMALL = DescribeSettings(context_tokens=8, train=6, test=8, quantiles=4, negatives=6, batch=3)


class Chat(ThreadingHTTPServer):
    """Answers chat completions by a function from messages to text; counts what it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.reply = sensible
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, self.headers["Authorization"], body))
            made = self.server.reply(body["messages"])
        if isinstance(made, int):
            data = json.dumps({"error": {"message": "no"}}).encode()
            self.send_response(made)
        else:
            message = {"role": "assistant", "content": made}
            data = json.dumps(
                {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
                }
            ).encode()
            self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        """Keep the test's output to itself."""


def sensible(messages):
    """Reply in the form asked for, always yes."""
    system, user = messages[0]["content"], messages[1]["content"]
    if "DESCRIPTION:" in system:
        first = re.search(r"<<(.+?)>>", user).group(1)
        return f"They share a word.\nDESCRIPTION: the word{first}"
    sizes = [int(size) for size in re.findall(r"\((\d+) tokens\)", user)]
    if sizes:
        return json.dumps([[10] * size for size in sizes])
    return "Sure: " + json.dumps([1] * len(re.findall(r"^Passage \d+:", user, re.MULTILINE)))


@pytest.fixture
def chat():
    server = Chat()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    root = index_fixtures.write(tmp_path_factory.mktemp("endpoint"))
    with index_fixtures.session(root) as opened:
        opened.index(index_fixtures.texts(), root / "index", **index_fixtures.OPTIONS)
        yield opened


@pytest.fixture(scope="module")
def refs(session):
    index = session.opened_index
    counts = [index.profile(f"resid_post.0/{number}").count for number in range(80)]
    return [FeatureRef("resid_post.0", number) for number in np.argsort(counts)[-2:].tolist()]


def endpoint(chat, **options):
    return Endpoint(
        "small-model",
        **{"base_url": chat.url, "api_key": "secret-key", "max_retries": 0, **options},
    )


def test_describes_and_scores_over_http(session, refs, chat, tmp_path):
    one = endpoint(chat, price_in=1.0, price_out=10.0)
    options = {"labeller": one, "settings": SMALL, "path": tmp_path, "progress": False}
    estimate = describe(session, refs, dry_run=True, **options)
    assert not chat.requests
    assert not list(tmp_path.iterdir())
    made = describe(session, refs, **options)
    assert made.calls == len(chat.requests) == estimate.label_calls + estimate.score_calls
    assert (made.prompt_tokens, made.completion_tokens) == (100 * made.calls, 7 * made.calls)
    assert made.described_by == made.scored_by == "small-model at 127.0.0.1"
    for found in made.descriptions:
        assert found.text.startswith("the word")
        assert found.score("detection").value == 0.5
        assert found.score("detection").unanswered == 0
        assert found.score("simulation").value == 0.0
    path, authorisation, body = chat.requests[0]
    assert path == "/v1/chat/completions"
    assert authorisation == "Bearer secret-key"
    assert (body["model"], body["temperature"]) == ("small-model", 0.0)
    assert b"secret-key" not in (tmp_path / "descriptions.jsonl").read_bytes()
    # The estimate counts the prompts that were sent, at 4 characters a token; only how long the
    # descriptions would be was not known.
    sent = sum(len(m["content"]) for _, _, b in chat.requests for m in b["messages"]) / 4
    questions = estimate.score_calls
    assert sent <= estimate.prompt_tokens <= sent + questions * (SMALL.description_tokens + 1)
    expected = (estimate.prompt_tokens + 10 * estimate.completion_tokens) / 1e6
    assert estimate.price == pytest.approx(expected)
    assert estimate.completion_tokens >= made.completion_tokens
    assert "prompt" in estimate.summary()
    assert estimate.to_pandas()["calls"].sum() == made.calls
    again = describe(session, refs, **options)
    assert (again.calls, repr(again.descriptions)) == (0, repr(made.descriptions))


def test_the_scorer_never_sees_the_activations(session, refs, chat, tmp_path):
    describe(
        session,
        refs[:1],
        labeller=lambda _: "x",
        scorer=endpoint(chat),
        settings=SMALL,
        path=tmp_path,
        progress=False,
    )
    evidence = gather(session, session.opened_index, refs[0], SMALL)
    numbers = {f"{value:.4g}" for one in evidence.positives for value in one.values if value > 0}
    assert numbers
    for _, _, body in chat.requests:
        assert not any(number in body["messages"][1]["content"] for number in numbers)


def test_unusable_replies_are_counted(session, refs, chat, tmp_path):
    chat.reply = lambda messages: "I cannot tell."
    made = describe(
        session,
        refs[:1],
        descriptions={refs[0]: "a word"},
        scorer=endpoint(chat),
        settings=SMALL,
        path=tmp_path,
        progress=False,
    )
    for found in made.descriptions[0].scores:
        assert found.unanswered == found.trials > 0
        assert np.isnan(found.value)
    assert made.to_pandas()["unanswered"][0] > 0


def test_a_failing_endpoint_keeps_what_is_done(session, refs, chat, tmp_path):
    count = []

    def failing(messages):
        count.append(1)
        return 500 if len(count) > 4 else sensible(messages)

    chat.reply = failing
    options = {
        "labeller": endpoint(chat),
        "settings": SMALL,
        "path": tmp_path,
        "progress": False,
        "workers": 1,
    }
    with pytest.raises(WorkbenchError, match=r"goes on\s+from there"):
        describe(session, refs, **options)
    chat.reply = sensible
    kept = len((tmp_path / "descriptions.jsonl").read_bytes().splitlines()) - 1
    assert kept >= 1
    before = len(chat.requests)
    made = describe(session, refs, **options)
    texts = [body for _, _, body in chat.requests[before:] if "DESCRIPTION" in str(body)]
    assert len(texts) == len(refs) - 1
    assert all(one.text for one in made.descriptions)


def test_an_empty_reply_is_a_problem_of_one_feature(session, refs, chat, tmp_path):
    chat.reply = lambda messages: (
        "" if "DESCRIPTION:" in messages[0]["content"] else sensible(messages)
    )
    made = describe(
        session, refs, labeller=endpoint(chat), settings=SMALL, path=tmp_path, progress=False
    )
    assert all("no description" in one.problem for one in made.descriptions)


def test_without_the_package_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match="pip install openai"):
        Endpoint("small-model")


def test_without_a_key_it_says_so(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="api_key"):
        Endpoint("small-model")


def question(kind, n=2):
    text = Excerpt(
        tokens=("a", " b", " c"),
        token_ids=np.arange(3),
        values=np.full(3, np.nan),
        document=0,
        column=0,
    )
    return Question(
        kind=kind, feature=FeatureRef("x", 1), description="d", excerpts=(text,) * n, marks=()
    )


@pytest.mark.parametrize(
    ("kind", "reply", "expected"),
    [
        ("detection", "[1, 0]", [1.0, 0.0]),
        ("detection", "Thus:\n```json\n[0, 1]\n```", [0.0, 1.0]),
        ("detection", "[true, 0.7]", [1.0, 0.7]),
        ("detection", "[1]", [None, None]),
        ("detection", "[1, 7]", [1.0, None]),
        ("detection", '[1, "yes"]', [1.0, None]),
        ("detection", "yes and no", [None, None]),
        ("detection", "[1, NaN]", [1.0, None]),
        ("detection", "[" * 100_000, [None, None]),
        ("simulation", "[[0, 1, 10], [0, 0]]", [[0.0, 1.0, 10.0], None]),
        ("simulation", "[[0, 1, 10], 3]", [[0.0, 1.0, 10.0], None]),
    ],
)
def test_replies_are_read_with_suspicion(kind, reply, expected):
    assert read_answers(question(kind), reply) == expected


def test_descriptions_are_found_in_replies():
    assert description_of("thinking\nDESCRIPTION: cities") == "cities"
    assert description_of("**DESCRIPTION:** cities") == "cities"
    assert description_of("no marker\nbut a last line") == "but a last line"
    with pytest.raises(InputError):
        description_of(" \n ")


def test_a_labeller_is_shown_marked_tokens_and_strengths(session, refs):
    evidence = gather(session, session.opened_index, refs[0], SMALL)
    shown = label_messages(evidence)[1]["content"]
    for excerpt in evidence.train:
        token = excerpt.tokens[int(np.nanargmax(excerpt.values))]
        assert f"<<{token}>>" in shown
    assert "10" in shown
    held_out = dataclasses.replace(evidence, train=())
    assert "Passage" not in label_messages(held_out)[1]["content"]
