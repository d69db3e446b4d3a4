from __future__ import annotations

import dashboard_fixtures as made
import pytest

from workbench.errors import LoadError
from workbench.interchange import (
    SaeFacts,
    circuit_tracer,
    detect,
    neuronpedia,
    parse_feature_url,
    read,
    saedashboard,
)

LAYOUTS = {
    "saedashboard": saedashboard,
    "neuronpedia": neuronpedia,
    "circuit_tracer": circuit_tracer,
}


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_each_layout_is_known_by_its_files(tmp_path, name):
    paths = LAYOUTS[name].write([made.full()], tmp_path / "out")
    assert detect(tmp_path / "out") == name
    (one,) = read(tmp_path / "out", sae=SaeFacts(name="resid_post.2"))
    assert one.layout == name
    assert one.dashboard.feature == "resid_post.2/417"
    assert one.dashboard.groups[0].contexts[0].tokens == ("the", " old", " cat")
    if name != "neuronpedia":
        other = tmp_path / "named.json"
        paths[0].rename(other)
        assert detect(other) == name


def test_from_one_layout_to_another(tmp_path):
    saedashboard.write([made.full()], tmp_path / "a")
    neuronpedia.write(read(tmp_path / "a"), tmp_path / "b")
    circuit_tracer.write(read(tmp_path / "b"), tmp_path / "c")
    (last,) = read(tmp_path / "c")
    first = made.full()
    for one, two in zip(first.groups, last.dashboard.groups, strict=True):
        assert [item.tokens for item in one.contexts] == [item.tokens for item in two.contexts]
        assert [item.values.tolist() for item in one.contexts] == [
            item.values.tolist() for item in two.contexts
        ]
    assert [effect.token for effect in last.dashboard.raises] == [" cat", " dog"]
    assert last.density == first.density


def test_other_things_are_refused(tmp_path):
    with pytest.raises(LoadError, match="no file"):
        detect(tmp_path / "x")
    with pytest.raises(LoadError, match="no dashboards"):
        detect(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(LoadError, match="no dashboards"):
        detect(tmp_path / "a.json")


def test_an_attached_sae_says_what_files_do_not():
    class Site:
        name = "mlp_in.3"

    class Config:
        metadata = {"neuronpedia_id": "gemma-2-2b/3-transcoder"}  # noqa: RUF012

    class Sae:
        name, d_sae, architecture = "transcoder.3", 512, "jumprelu_transcoder"
        site, out_site, config = Site(), None, Config()

    facts = SaeFacts.of(Sae())
    assert facts == SaeFacts(
        name="transcoder.3",
        site="mlp_in.3",
        out_site="mlp_in.3",
        d_sae=512,
        architecture="jumprelu_transcoder",
        neuronpedia_id="gemma-2-2b/3-transcoder",
    )
    assert facts.url(9) == "https://www.neuronpedia.org/gemma-2-2b/3-transcoder/9"
    link = parse_feature_url(facts.url(9))
    assert str(link.ref({facts.neuronpedia_id: facts.name})) == "transcoder.3/9"
    assert SaeFacts(name="x").url(0) is None
