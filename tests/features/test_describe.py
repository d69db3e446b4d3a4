"""Descriptions of features: contexts, scores, resuming, costs."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import index_fixtures
import numpy as np
import pytest

import workbench as wb
from workbench.errors import InputError, LoadError, SaeError
from workbench.features.describe import (
    DescribeSettings,
    Excerpt,
    Question,
    answer_by_words,
    describe,
    describe_by_statistics,
    gather,
)
from workbench.features.describe.questions import Trial, score, trials
from workbench.features.lists import FeatureLists
from workbench.features.refs import FeatureRef

SMALL = DescribeSettings(context_tokens=8, train=6, test=8, quantiles=4, negatives=6, batch=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return index_fixtures.write(tmp_path_factory.mktemp("describe"))


@pytest.fixture(scope="module")
def session(root):
    options = index_fixtures.OPTIONS | {
        "settings": dataclasses.replace(index_fixtures.SETTINGS, window=8, top_window=8)
    }
    with index_fixtures.session(root) as opened:
        opened.index(index_fixtures.texts(), root / "index", **options)
        yield opened


@pytest.fixture(scope="module")
def refs(session):
    """Three features that fire often enough to be scored."""
    index = session.opened_index
    counts = [index.profile(f"resid_post.0/{number}").count for number in range(80)]
    chosen = np.argsort(counts)[-3:].tolist()
    return [FeatureRef("resid_post.0", number) for number in chosen]


@pytest.fixture(scope="module")
def truth(session):
    """Every activation of ``resid_post.0``: (document, tokens of the row) to [pos, feature]."""
    index, sae, rows = session.opened_index, session.saes["resid_post.0"], {}
    for row in range(len(index.rows) - 1):
        low, high = int(index.rows[row]), int(index.rows[row + 1])
        run = np.searchsorted(index.runs[:, 0], low, side="right") - 1
        ids = np.asarray(index.tokens[low:high]).tolist()
        x = session.run(session.tokens([ids]), capture=["resid_post.0"])["resid_post.0"]
        codes = sae.encode_dense(x)[0].detach().numpy()
        rows[int(index.runs[run, 1]), tuple(ids)] = codes * ~np.asarray(
            index.special[low:high, None]
        )
    return rows


def activations(truth, excerpt, feature):
    """Activations of an excerpt's tokens, from the row that holds them."""
    ids = tuple(excerpt.token_ids.tolist())
    stop = excerpt.column + len(ids)
    found = [
        codes[excerpt.column : stop, feature]
        for (document, row), codes in truth.items()
        if document == excerpt.document and row[excerpt.column : stop] == ids
    ]
    assert len(found) == 1, "the excerpt must be found in one row of its document"
    return found[0]


def test_contexts_carry_the_true_activations(session, refs, truth):
    for ref in refs:
        evidence = gather(session, session.opened_index, ref, SMALL)
        assert len(evidence.train) == SMALL.train
        assert len(evidence.positives) >= SMALL.quantiles
        assert len(evidence.negatives) == SMALL.negatives
        for excerpt in (*evidence.train, *evidence.positives, *evidence.negatives):
            assert 0 < len(excerpt.tokens) <= SMALL.context_tokens
            known = ~np.isnan(excerpt.values)
            codes = activations(truth, excerpt, ref.index)
            np.testing.assert_allclose(excerpt.values[known], codes[known], rtol=1e-4, atol=1e-5)
        assert all(excerpt.largest > 0 for excerpt in (*evidence.train, *evidence.positives))
        assert all(excerpt.largest == 0 for excerpt in evidence.negatives)


def test_what_a_labeller_sees_is_not_what_is_scored(session, refs):
    for ref in refs:
        evidence = gather(session, session.opened_index, ref, SMALL)
        seen = {excerpt.token_ids.tobytes() for excerpt in evidence.train}
        assert not seen & {excerpt.token_ids.tobytes() for excerpt in evidence.positives}
        runs = np.bincount(session.opened_index.runs[:, 1])
        for one in evidence.train:
            for other in evidence.positives:
                # Columns can be compared where a document is one row.
                if one.document == other.document and runs[one.document] == 1:
                    first, second = sorted((one, other), key=lambda each: each.column)
                    assert first.column + len(first.tokens) <= second.column


def test_positives_come_from_every_quantile(session, refs):
    index = session.opened_index
    evidence = gather(session, index, refs[0], SMALL)
    assert {excerpt.quantile for excerpt in evidence.positives} == set(range(SMALL.quantiles))
    edges = np.asarray(index.profile(refs[0]).histogram.quantile(np.linspace(0, 1, 5)))
    for excerpt in evidence.positives:
        # The token it was drawn for lies in its interval; others of its tokens may fire more.
        assert (np.nan_to_num(excerpt.values) >= edges[excerpt.quantile] * 0.9).any()


def test_a_scorer_that_knows_the_truth_gets_full_marks(session, refs, truth, tmp_path):
    def knows(question):
        answers = []
        for place, excerpt in enumerate(question.excerpts):
            assert np.isnan(excerpt.values).all()
            assert excerpt.quantile == -1
            values = activations(truth, excerpt, question.feature.index)
            if question.kind == "simulation":
                answers.append(values)
            elif question.kind == "detection":
                answers.append(float(values.max() > 1e-6))
            else:
                answers.append(bool(values[question.marks[place]].mean() > 1e-6))
        return answers

    settings = dataclasses.replace(SMALL, fuzzing_negatives="silent")
    made = describe(
        session,
        refs,
        labeller=lambda evidence: f"feature {evidence.feature.index}",
        scorer=knows,
        settings=settings,
        path=tmp_path,
        progress=False,
    )
    for one in made.descriptions:
        assert one.score("detection").value == 1.0
        assert one.score("simulation").value > 0.999
        assert one.score("fuzzing").value == 1.0
        assert one.text == f"feature {one.feature.split('/')[1]}"


def test_a_scorer_that_always_says_yes_gets_one_half(session, refs, tmp_path):
    def always(question):
        if question.kind == "simulation":
            return [[1.0] * len(excerpt.tokens) for excerpt in question.excerpts]
        return [1] * len(question.excerpts)

    made = describe(session, refs, scorer=always, settings=SMALL, path=tmp_path, progress=False)
    for one in made.descriptions:
        assert one.score("detection").value == 0.5
        assert one.score("fuzzing").value == 0.5
        assert one.score("simulation").value == 0.0
        assert (one.score("detection").right_yes, one.score("detection").right_no) == (1.0, 0.0)


def test_fuzzing_marks_strong_tokens_and_as_many_random_ones(session, refs):
    for negatives in ("silent", "active"):
        settings = dataclasses.replace(SMALL, fuzzing_negatives=negatives)
        for ref in refs:
            evidence = gather(session, session.opened_index, ref, settings)
            made = trials("fuzzing", evidence, settings)
            right = [trial for trial in made if trial.truth]
            wrong = [trial for trial in made if not trial.truth]
            for trial in right:
                values = np.nan_to_num(trial.excerpt.values)
                assert (trial.marks == (values >= 0.3 * values.max())).all()
            sizes = {int(trial.marks.sum()) for trial in right}
            assert wrong
            for trial in wrong:
                assert not (trial.marks & trial.excerpt.marks(0.3)).any()
                assert trial.marks.sum() <= max(sizes)


def excerpt(words, values=None, quantile=-1):
    tokens = tuple(f" {word}" for word in words.split())
    numbers = np.zeros(len(tokens)) if values is None else np.asarray(values, dtype=float)
    return Excerpt(
        tokens=tokens,
        token_ids=np.arange(len(tokens)),
        values=numbers,
        document=0,
        column=0,
        quantile=quantile,
    )


def trial(values, truth=True, quantile=0):
    return Trial(
        excerpt=excerpt("a b c", values, quantile), marks=np.zeros(0, dtype=bool), truth=truth
    )


def test_scores_by_hand():
    settings = DescribeSettings(quantiles=2)
    asked = [trial([0, 0, 1]), trial([0, 2, 0], quantile=1), trial([0, 0, 0], truth=False)]
    told = score("detection", asked, [1, 0.2, None], settings)
    assert (told.right_yes, told.unanswered, told.trials) == (0.5, 1, 3)
    assert np.isnan(told.right_no)
    assert np.isnan(told.value)
    assert told.by_quantile == (1.0, 0.0)
    told = score("detection", asked, [1, 0.2, 0.4], settings)
    assert told.value == 0.75
    said = [[0, 0, 10], [0, 10, 0], None]
    simulated = score("simulation", asked, said, settings)
    true = np.array([0, 0, 1, 0, 2, 0])
    expected = np.corrcoef(np.array([0, 0, 10, 0, 10, 0]), true)[0, 1]
    assert simulated.value == pytest.approx(expected)
    assert simulated.by_quantile == pytest.approx((1.0, 1.0))
    special = [trial([np.nan, 0, 1]), trial([np.nan, 3, 0])]
    assert score("simulation", special, [[9, 0, 1], [9, 3, 0]], settings).value == pytest.approx(1)


def test_statistics_find_the_rule(session, refs):
    plain = gather(session, session.opened_index, refs[0], SMALL)
    cases = {
        "fires on `cat`": [("a cat sat", [0, 2, 0]), ("cat and dog", [1, 0, 0])],
        "fires on the token after `the`": [
            ("the cat sat", [0, 2, 0]),
            ("on the mat", [0, 0, 3]),
            ("see the dog", [0, 0, 2]),
        ],
        "fires in text after `not` has been seen": [
            ("x not a b", [0, 0, 1, 1]),
            ("not c d e", [0, 1, 1, 1]),
            ("f g not h", [0, 0, 0, 1]),
        ],
    }
    for expected, contexts in cases.items():
        evidence = dataclasses.replace(
            plain,
            train=tuple(excerpt(words, values) for words, values in contexts),
            raises=((" paws", 1.5),),
        )
        text = describe_by_statistics(evidence)
        assert text.startswith(
            f"{expected} (100% of them fire strongly, 100% of its strong activations)"
        )
        assert text.endswith("; makes `paws` likelier")
        asked = Question(
            kind="simulation",
            feature=refs[0],
            description=text,
            excerpts=tuple(excerpt(words) for words, _ in contexts),
        )
        for answer, (_, values) in zip(answer_by_words(asked), contexts, strict=True):
            assert answer == (np.array(values) > 0).astype(float).tolist()


def test_words_of_other_descriptions_are_looked_for(refs):
    asked = Question(
        kind="detection",
        feature=refs[0],
        description="European cities such as Paris",
        excerpts=(excerpt("in paris today"), excerpt("in london today")),
    )
    assert answer_by_words(asked) == [1.0, 0.0]
    steered = dataclasses.replace(
        asked, kind="steering", description="fires on `a` (1%); makes `london` likelier"
    )
    assert answer_by_words(steered) == [0.0, 1.0]


def test_the_offline_default_says_what_it_is(session, refs, tmp_path):
    made = describe(session, refs, settings=SMALL, path=tmp_path / "d", progress=False)
    assert "no language model" in made.described_by
    assert "no language model" in made.scored_by
    assert "no language model" in made.summary()
    table = made.to_pandas()
    assert table["feature"].tolist() == [str(ref) for ref in refs]
    assert table["described_by"].str.contains("token statistics").all()
    # Word-salad features of a random SAE: the rule still has to beat guessing on held-out text.
    assert table["detection"].mean() > 0.6
    read = wb.load(made.save(tmp_path / "made"))
    assert read.descriptions == made.descriptions or repr(read.descriptions) == repr(
        made.descriptions
    )
    assert "<table" in made._repr_html_()


def test_steering_tells_texts_apart_when_the_scorer_can(session, refs, tmp_path):
    settings = dataclasses.replace(
        SMALL, scores=("steering",), steering_tokens=6, steering_factor=20.0
    )
    seen = {}
    made = describe(
        session,
        refs[:1],
        descriptions={refs[0]: "anything"},
        scorer=lambda question: [
            seen.setdefault(one.token_ids.tobytes(), len(seen)) % 2 for one in question.excerpts
        ],
        settings=settings,
        path=tmp_path,
        progress=False,
    )
    found = made.descriptions[0].score("steering")
    assert found.trials == 2 * len(settings.steering_prompts)
    assert found.by_quantile == ()
    assert 0 <= found.value <= 1
    assert made.described_by == "given"
    # With the same seed and nothing added, both texts of a prompt are the same.
    from workbench.features.describe.steering import steered_trials

    evidence = gather(session, session.opened_index, refs[0], settings)
    still = dataclasses.replace(settings, steering_factor=0.0)
    texts = {True: [], False: []}
    for one in steered_trials(session, evidence, still):
        texts[one.truth].append(one.excerpt.tokens)
    assert sorted(texts[True]) == sorted(texts[False])
    moved = {True: [], False: []}
    for one in steered_trials(session, evidence, settings):
        moved[one.truth].append(one.excerpt.tokens)
    assert sorted(moved[True]) != sorted(moved[False])


def test_labels_go_to_lists(session, refs, tmp_path):
    made = describe(session, refs, settings=SMALL, path=tmp_path, progress=False)
    lists = FeatureLists()
    lists.annotate(refs[0], label="mine")
    written = made.to_lists(lists)
    assert list(written) == refs[1:]
    assert lists.label(refs[0]) == "mine"
    assert lists.label(refs[1]) == made.descriptions[1].label
    assert "no language model" in lists.annotation(refs[1]).note
    assert list(made.to_lists(lists, overwrite=True)) == refs
    assert not made.to_lists(FeatureLists(), at_least={"detection": 1.01})
    with pytest.raises(InputError, match="detection"):
        made.to_lists(FeatureLists(), at_least={"detektion": 0.5})


def test_a_second_call_asks_nothing_again(session, refs, tmp_path):
    calls = []

    def counting(question):
        calls.append(question.kind)
        return answer_by_words(question)

    options = {"scorer": counting, "settings": SMALL, "path": tmp_path, "progress": False}
    first = describe(session, refs[:2], **options)
    asked = len(calls)
    estimate = describe(session, refs, dry_run=True, **options)
    assert (estimate.features, estimate.done, len(calls)) == (3, 2, asked)
    again = describe(session, refs[:2], **options)
    assert len(calls) == asked
    assert repr(again.descriptions) == repr(first.descriptions)
    describe(session, refs, **options)
    assert len(calls) - asked == estimate.score_calls
    assert estimate.label_calls == 1


def test_what_was_done_before_a_failure_is_kept(session, refs, tmp_path):
    calls = []

    def failing(question):
        calls.append(question.kind)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return answer_by_words(question)

    options = {"scorer": failing, "settings": SMALL, "path": tmp_path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        describe(session, refs, **options)
    file = tmp_path / "descriptions.jsonl"
    kept = file.read_bytes()
    assert kept.count(b"\n") >= 3
    # As a kill in the middle of a write leaves it.
    file.write_bytes(kept + b'{"feature": "resid_post.0/1", "wh')
    made = describe(session, refs, **options)
    whole = describe(session, refs, **(options | {"path": tmp_path / "whole"}))
    assert repr(made.descriptions) == repr(whole.descriptions)
    assert file.read_bytes().startswith(kept)
    assert all(json.loads(line) for line in file.read_bytes().splitlines())


KILLED = """
import sys
import index_fixtures
from pathlib import Path
from workbench.features.describe import DescribeSettings, answer_by_words, describe

root, out, refs = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
settings = DescribeSettings(context_tokens=8, train=6, test=8, quantiles=4, negatives=6, batch=3)

def words(question):
    print("asked", flush=True)
    return answer_by_words(question)

with index_fixtures.session(root) as session:
    session.index(path=root / "index")
    print("ready", flush=True)
    describe(session, refs, scorer=words, settings=settings, path=out, progress=False)
"""


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_a_killed_run_goes_on(session, root, refs, tmp_path):
    tests = Path(index_fixtures.__file__).parent
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(KILLED))
    environment = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    names = ",".join(map(str, refs))
    command = [sys.executable, str(script), str(root), str(tmp_path / "out"), names]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    for line in process.stdout:
        if line.strip() == "asked":
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    records = (tmp_path / "out" / "descriptions.jsonl").read_bytes().splitlines()
    found = [json.loads(line) for line in records[1:]]
    assert len(found) == len(refs) * 4
    whole = describe(session, refs, settings=SMALL, path=tmp_path / "whole", progress=False)
    for one in whole.descriptions:
        texts = [
            r["data"] for r in found if (r["feature"], r["what"]) == (one.feature, "description")
        ]
        assert texts == [one.text]


def test_another_way_of_describing_is_another_run(session, refs, tmp_path):
    describe(session, refs[:1], settings=SMALL, path=tmp_path, progress=False)
    other = dataclasses.replace(SMALL, seed=1)
    with pytest.raises(InputError, match="another way"):
        describe(session, refs[:1], settings=other, path=tmp_path, progress=False)
    (tmp_path / "descriptions.jsonl").write_text("nonsense\n")
    with pytest.raises(LoadError, match="no feature descriptions"):
        describe(session, refs[:1], settings=SMALL, path=tmp_path, progress=False)


def test_dead_features_are_reported(root, tmp_path):
    with index_fixtures.session(root) as fresh:
        # Five features per token and few tokens: most of the 80 never fire.
        index = fresh.index(index_fixtures.texts(1), tmp_path / "index", **index_fixtures.OPTIONS)
        dead = next(n for n in range(80) if index.profile(f"resid_post.0/{n}").dead)
        made = describe(fresh, f"resid_post.0/{dead}", settings=SMALL, progress=False)
    assert made.descriptions[0].text == ""
    assert "dead" in made.descriptions[0].problem
    assert made.to_pandas()["problem"].str.contains("dead").all()


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (lambda question: [1], "gave 1 answers"),
        (lambda question: 3, "one answer per text"),
        (lambda question: ["much"] * len(question.excerpts), "expected a number"),
        (lambda question: [float("nan")] * len(question.excerpts), "NaN"),
    ],
)
def test_unusable_answers_are_refused(session, refs, tmp_path, scorer, message):
    with pytest.raises(InputError, match=message):
        describe(session, refs[:1], scorer=scorer, settings=SMALL, path=tmp_path, progress=False)


def test_bad_input_is_refused(session, root, refs, tmp_path):
    with pytest.raises(InputError, match="0 to 79"):
        describe(session, "resid_post.0/999", path=tmp_path)
    with pytest.raises(SaeError, match=r"resid_post\.0"):
        describe(session, "resid_post.9/1", path=tmp_path)
    with pytest.raises(InputError, match="expected a text"):
        describe(session, refs[:1], labeller=lambda _: "", path=tmp_path, progress=False)
    with pytest.raises(InputError, match="workers"):
        describe(session, refs[:1], workers=0)
    with (
        index_fixtures.session(root) as fresh,
        pytest.raises(InputError, match="feature index"),
    ):
        describe(fresh, refs[:1])
    for wrong in ({"mark": 0}, {"train": 0}, {"scores": ("detektion",)}):
        with pytest.raises(InputError):
            DescribeSettings(**wrong)


def test_the_session_offers_it(session, refs):
    estimate = session.describe(refs, settings=SMALL, dry_run=True)
    assert (estimate.features, estimate.done, estimate.label_calls) == (3, 0, 3)
    assert estimate.prompt_tokens == 0
