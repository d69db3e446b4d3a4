from __future__ import annotations

import gc
import weakref

import checkpoints
import huggingface_hub.constants
import pytest
import sae_fixtures

import workbench as wb
from workbench.errors import InputError, LoadError, SaeError, WorkbenchError


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("session")
    checkpoints.write("gpt2", root / "tiny")
    for layer in range(3):
        sae_fixtures.write_sae(
            root / "saes" / f"resid_post.{layer}",
            d_in=32,
            d_sae=64,
            hook=f"blocks.{layer}.hook_resid_post",
            seed=layer,
        )
    return root


@pytest.fixture
def session(folders):
    with wb.open(folders / "tiny", saes=folders / "saes", device="cpu") as opened:
        yield opened


def test_a_folder_of_saes_attaches_them_all(session):
    assert list(session.saes) == ["resid_post.0", "resid_post.1", "resid_post.2"]
    assert session.saes.resident == ()
    session.read("the cat", "resid_post.1")
    assert session.saes.resident == ("resid_post.1",)


def test_saes_are_given_in_several_ways(folders):
    one = folders / "saes" / "resid_post.1"
    named = {"mine": one}
    for saes, names in (
        (one, ["resid_post.1"]),
        ([one, folders / "saes" / "resid_post.0"], ["resid_post.1", "resid_post.0"]),
        (named, ["mine"]),
        ([], []),
        (sae_fixtures.make_module("topk", d_in=32, d_sae=64), ["resid_post.1"]),
    ):
        with wb.open(folders / "tiny", saes=saes, device="cpu") as opened:
            assert list(opened.saes) == names
    with pytest.raises(InputError, match="pair"):
        wb.open(folders / "tiny", saes=("a", "b", "c"), device="cpu")


def test_an_sae_of_another_width_is_refused(folders, tmp_path):
    wrong = sae_fixtures.write_sae(tmp_path / "wrong", d_in=16)
    with pytest.raises(SaeError, match="16"):
        wb.open(folders / "tiny", saes=wrong, device="cpu")


def test_the_short_forms_say_what_is_there(session):
    assert repr(session) == f"Session({session.model!r}, 3 SAEs)"
    shown = session._repr_html_()
    for word in ("tiny", "float32 on cpu", "resid_post.2", "MiB", "BOS once", "topk"):
        assert word in shown
    assert len(shown) < 10_000
    assert str(session.saes["resid_post.2"].source.identifier) not in shown


def test_names_never_become_html(folders, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    directory = checkpoints.write("gpt2", tmp_path / evil)
    with wb.open(directory, saes={evil: folders / "saes" / "resid_post.1"}, device="cpu") as opened:
        assert "<img" not in opened._repr_html_()
        assert "<img" not in opened.read("the cat")._repr_html_()


def test_closing_frees_the_memory(folders):
    session = wb.open(folders / "tiny", saes=folders / "saes", device="cpu")
    reading = session.read("the cat")
    network = weakref.ref(session.model.network.plain)
    session.close()
    session.close()
    gc.collect()
    assert network() is None
    assert session.closed
    assert repr(session) == "Session(closed)"
    assert "closed" in session._repr_html_()
    for use in (lambda: session.model, lambda: session.read("a"), lambda: session.saes):
        with pytest.raises(WorkbenchError, match="closed"):
            use()
    assert len(reading.to_pandas())


def test_sessions_stand_side_by_side(folders):
    with wb.open(folders / "tiny", device="cpu") as one:
        before = one.generate("the cat", max_new_tokens=5).text
        with wb.open(folders / "tiny", saes=folders / "saes", device="cpu") as other:
            assert other.generate("the cat", max_new_tokens=5).text == before
            assert len(one.saes) == 0
        assert one.generate("the cat", max_new_tokens=5).text == before


def test_memory_lists_what_is_resident(session):
    session.read("the cat", "resid_post.2")
    table = session.memory()
    assert table["kind"].tolist() == ["model", "SAE"]
    assert table["name"].tolist() == ["tiny", "resid_post.2"]


def test_a_policy_is_the_sessions(folders):
    policy = wb.TokenPolicy(bos=False, overflow="right", max_length=3)
    with wb.open(folders / "tiny", policy=policy, device="cpu") as opened:
        read = opened.read("the old cat sat on the mat", [])
        assert len(read.tokens) == 3
        assert read.provenance.token_policy["bos"] is False
        assert opened.read("the cat", [], policy=wb.TokenPolicy(bos=True)).tokens[0] == "<s>"


def test_without_network_and_cache_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LoadError, match=r"wb\.open\('demo'\)"):
        wb.open("gpt2")


def test_unknown_names_in_the_package_are_attribute_errors():
    with pytest.raises(AttributeError, match="nothing_here"):
        wb.nothing_here  # noqa: B018
    assert "open" in dir(wb)
