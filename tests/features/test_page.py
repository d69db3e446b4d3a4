from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import sae_fixtures
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.features import page
from workbench.features.recheck import recheck
from workbench.interchange import neuronpedia

SAE = "resid_post.1"
WORDS = checkpoints.WORDS


def texts(n, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(8, 24))) for _ in range(n)]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    model = checkpoints.write("llama", root / "tiny")
    sae = sae_fixtures.save_sae(
        root / "sae",
        sae_fixtures.make_module("topk", d_in=32, d_sae=24),
        labels={3: "beside the weights", 4: "also there"},
    )
    other = sae_fixtures.write_sae(
        root / "other", "jumprelu", d_in=32, d_sae=20, hook="blocks.2.hook_mlp_out", seed=1
    )
    with wb.open(model, saes={SAE: sae, "mlp_out.2": other}, device="cpu") as opened:
        opened.index(texts(60), root / "index", saes=SAE, progress=False)
        yield opened


@pytest.fixture(scope="module")
def dense(session):
    """Every activation of the corpus, computed apart: one array [pos, feature] per document."""
    sae = session.saes[SAE]
    made = []
    for text in texts(60):
        tokens = session.tokens(text)
        x = session.run(tokens, capture=[SAE])[SAE]
        code = sae.encode_dense(x)[0].detach().numpy()
        made.append(code[~tokens.special[0].numpy()])
    return made


def test_statistics_equal_brute_force(session, dense):
    everything = np.concatenate(dense)
    for index in range(24):
        column = everything[:, index]
        shown = session.feature(f"{SAE}/{index}")
        fires = column[column != 0]
        assert shown.counted_tokens == len(column)
        assert shown.fires == len(fires)
        if len(fires):
            assert shown.maximum == pytest.approx(fires.max(), rel=1e-6)
            assert shown.mean == pytest.approx(fires.mean(), rel=1e-5)
            assert shown.histogram.counts.sum() == len(fires)
        assert shown.complete


def test_top_contexts_are_the_strongest_of_distinct_documents(session, dense):
    for index in (0, 5, 11):
        shown = session.feature(f"{SAE}/{index}", top=5)
        best = sorted((code[:, index].max() for code in dense), reverse=True)[:5]
        best = [value for value in best if value > 0]
        top = next(group for group in shown.groups if group.kind == "top")
        got = [context.value for context in top.contexts]
        # Contexts whose tokens repeat are left out, so what is shown is a subset in order.
        assert got == sorted(got, reverse=True)
        assert got[0] == pytest.approx(best[0], rel=1e-5)
        documents = [context.document for context in top.contexts]
        assert len(documents) == len(set(documents))
        for context in top.contexts:
            code = dense[context.document][:, index]
            known = context.values[~np.isnan(context.values)]
            assert context.value == pytest.approx(code.max(), rel=1e-5)
            assert known.max() == pytest.approx(code.max(), rel=1e-5)


def test_groups_name_their_ranges_and_stay_inside(session):
    shown = session.feature(f"{SAE}/5")
    kinds = [group.kind for group in shown.groups]
    assert kinds == ["top"] + ["width"] * 5 + ["quantile"] * 5 + ["silent"]
    for group in shown.groups:
        for context in group.contexts:
            if group.kind == "silent":
                assert context.value == 0
            elif group.kind != "top":
                assert group.low <= context.value <= group.high * (1 + 1e-6)
    quantiles = [group for group in shown.groups if group.kind == "quantile"]
    assert sum(group.total for group in quantiles) == pytest.approx(shown.fires, abs=5)
    assert quantiles[0].name.startswith("quantile 0.80–1.00")


def test_a_page_cut_to_what_is_known_survives_an_export(session, tmp_path):
    shown = session.feature(f"{SAE}/5")
    known = shown.known()
    values = [np.isnan(c.values) for group in shown.groups for c in group.contexts]
    assert np.concatenate(values).any()
    for before, after in zip(shown.groups, known.groups, strict=True):
        for whole, cut in zip(before.contexts, after.contexts, strict=True):
            assert not np.isnan(cut.values).any()
            assert (cut.value, cut.tokens[cut.peak]) == (whole.value, whole.tokens[whole.peak])
            assert cut.start + cut.peak == whole.start + whole.peak
    neuronpedia.write([known], tmp_path)
    (again,) = neuronpedia.read(tmp_path)
    assert recheck(session, again.dashboard, feature=shown.feature).firing.sum() > 0


def test_a_range_is_sampled(session):
    shown = session.feature(f"{SAE}/5")
    low, high = shown.maximum * 0.3, shown.maximum * 0.6
    drawn = page.resample(session, f"{SAE}/5", low, high, n=4)
    assert drawn.kind == "brush"
    assert drawn.contexts
    assert all(low <= context.value < high for context in drawn.contexts)
    with pytest.raises(InputError, match="empty"):
        page.resample(session, f"{SAE}/5", 2.0, 1.0)


def test_labels_come_from_lists_first(session):
    assert session.feature(f"{SAE}/3").label == "beside the weights"
    session.lists.annotate(f"{SAE}/3", label="my own")
    assert session.feature(f"{SAE}/3").label == "my own"
    assert session.feature(f"{SAE}/4").label == "also there"
    assert session.feature(f"{SAE}/5").label is None


def test_lists_are_kept_with_the_index(session, tmp_path):
    other = wb.Session(session.model, session.saes)
    made = other.index(texts(8), tmp_path / "index", saes=SAE, progress=False)
    other.lists.annotate(f"{SAE}/7", label="seven")
    other.lists.save()
    again = wb.Session(session.model, session.saes)
    again.index(path=made.path)
    assert again.feature(f"{SAE}/7").label == "seven"


def test_without_an_index_the_weights_still_speak(session):
    shown = session.feature("mlp_out.2/2")
    assert shown.fires == shown.counted_tokens == 0
    assert shown.groups == ()
    assert shown.raises
    assert shown.similar
    assert not shown.complete


def test_descriptions_of_earlier_runs_are_shown(session):
    ref = f"{SAE}/5"
    assert session.feature(ref).description is None
    folder = session.opened_index.path
    made = session.describe([ref], progress=False)
    shown = session.feature(ref).description
    assert made[ref].text
    assert shown.startswith(made[ref].text)
    assert "described by token statistics (no language model)" in shown
    assert f"detection {made[ref].score('detection').value:.2f}" in shown
    assert session.feature(f"{SAE}/6").description is None
    # A newer run is the one shown; what is no such file is passed over.
    newer = session.describe(
        [ref], labeller=lambda evidence: "cats, \u00e0 la carte", progress=False
    )
    assert session.feature(ref).description.startswith(newer[ref].text)
    broken = folder / "descriptions" / "broken"
    broken.mkdir()
    (broken / "descriptions.jsonl").write_bytes(b"[1]\n{not json\n\xff\n")
    assert session.feature(ref).description.startswith(newer[ref].text)


def test_a_density_that_came_with_the_sae_is_told_apart(session, tmp_path):
    sae = sae_fixtures.save_sae(
        tmp_path / "sae",
        sae_fixtures.make_module("topk", d_in=32, d_sae=24),
        log_sparsity=torch.linspace(-3, -1, 24),
    )
    other = wb.Session(session.model, type(session.saes)(session.model))
    other.attach(sae, name="resid_post.1")
    shown = other.feature("resid_post.1/23")
    assert shown.stated_density == pytest.approx(0.1, rel=1e-5)
    assert shown.counted_tokens == 0
    assert session.feature(f"{SAE}/5").stated_density is None


def test_a_background_build_is_used_as_it_grows(session, tmp_path):
    other = wb.Session(session.model, session.saes)
    assert other.opened_index is None
    build = other.index(
        texts(40, seed=1), tmp_path / "grows", saes=SAE, progress=False, background=True
    )
    build.wait(timeout=120)
    assert other.opened_index.path == tmp_path / "grows"
    assert other.feature(f"{SAE}/5").complete
