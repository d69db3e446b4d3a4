from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.interchange import (
    FeatureLink,
    GraphLink,
    feature_url,
    graph_url,
    parse_feature_url,
    parse_graph_url,
)
from workbench.interchange.graph_urls import GraphLabel, GraphNode, Supernode, pair, unpair

# As Neuronpedia's own pages link to it, shortened.
DALLAS = (
    "https://www.neuronpedia.org/gemma-2-2b/graph?slug=gemma-fact-dallas-austin"
    "&pinnedIds=27_22605_10%2C20_15589_10%2CE_26865_9%2C23_12237_10%2C18_8959_10"
    "&supernodes=%5B%5B%22Texas%22%2C%2220_15589_10%22%2C%2220_15589_9%22%5D%2C"
    "%5B%22capital+%2F+capital+cities%22%2C%2215_4494_4%22%5D%5D"
    "&pruningThreshold=0.6&densityThreshold=0.99"
    "&clerps=%5B%5B%2223_2312237_10%22%2C%22Cities+%28say+Austin%29%22%5D%2C"
    "%5B%2218_1808959_10%22%2C%22state+%2F+regional%22%5D%5D"
)


def test_a_feature_address_comes_from_the_sae():
    url = feature_url("gpt2-small/6-res-jb", 417)
    assert url == "https://www.neuronpedia.org/gpt2-small/6-res-jb/417"
    link = parse_feature_url(url)
    assert link == FeatureLink(model="gpt2-small", source="6-res-jb", index=417)
    assert (link.layer, link.source_set, link.url) == (6, "res-jb", url)
    assert link.ref({"gpt2-small/6-res-jb": "resid_pre.6"}) == FeatureRef("resid_pre.6", 417)
    with pytest.raises(InputError, match="did you mean 'gpt2-small/7-res-jb'"):
        link.ref({"gpt2-small/7-res-jb": "resid_pre.7"})


@pytest.mark.parametrize(
    "text",
    [
        "https://neuronpedia.org/gpt2-small/6-res-jb/417?embed=true&embedplots=false",
        "http://www.neuronpedia.org/gpt2-small/6-res-jb/417/",
        "https://www.neuronpedia.org/api/feature/gpt2-small/6-res-jb/417",
        "www.neuronpedia.org/gpt2-small/6-res-jb/417",
        "gpt2-small/6-res-jb/417",
        "  https://www.neuronpedia.org/gpt2-small/6-res-jb/417#top  ",
    ],
)
def test_forms_of_a_feature_address(text):
    assert parse_feature_url(text).neuronpedia_id == "gpt2-small/6-res-jb"
    assert parse_feature_url(text).index == 417


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.org/gpt2-small/6-res-jb/417",
        "https://www.neuronpedia.org.example.org/gpt2-small/6-res-jb/417",
        "javascript:alert(1)",
        "https://www.neuronpedia.org/gpt2-small/6-res-jb",
        "https://www.neuronpedia.org/gpt2-small/6-res-jb/-1",
        "https://www.neuronpedia.org/gpt2-small/6-res-jb/²",
        "https://www.neuronpedia.org/gpt2-small/6%2Fres/4",
        "https://www.neuronpedia.org/../etc/4",
        "https://[/gpt2-small/6-res-jb/417",
        "x" * 2_000_000,
    ],
)
def test_other_addresses_are_refused(text):
    with pytest.raises(InputError):
        parse_feature_url(text)


@pytest.mark.parametrize("name", ["", "gpt2-small", "a/b/c", "a/..", "a b/c", "a/b?x"])
def test_other_ids_are_refused(name):
    with pytest.raises(InputError, match="model/source"):
        feature_url(name, 0)


def test_a_graph_address():
    link = parse_graph_url(DALLAS)
    assert (link.model, link.slug) == ("gemma-2-2b", "gemma-fact-dallas-austin")
    assert link.pinned[2] == GraphNode(node_id="E_26865_9", layer=None, index=26865, position=9)
    assert [group.label for group in link.supernodes] == ["Texas", "capital / capital cities"]
    assert link.supernodes[0].nodes[1].node_id == "20_15589_9"
    first, second = link.labels
    assert (first.layer, first.index, first.position) == (23, 12237, 10)
    assert (second.layer, second.index, second.label) == (18, 8959, "state / regional")
    assert link.options == {"pruningThreshold": "0.6", "densityThreshold": "0.99"}
    refs = link.refs({layer: f"transcoder.{layer}" for layer in range(26)})
    assert refs["20_15589_10"] == FeatureRef("transcoder.20", 15589)
    assert "27_22605_10" not in refs  # a logit
    assert "E_26865_9" not in refs
    assert len(link.nodes) == 7


def test_a_graph_address_written_again_says_the_same():
    link = parse_graph_url(DALLAS)
    url = graph_url(link)
    assert parse_graph_url(url) == link
    assert parse_qs(urlsplit(url).query) == parse_qs(urlsplit(DALLAS).query)


@given(st.integers(0, 400), st.integers(0, 10**7))
def test_pairing_is_undone(layer, index):
    assert unpair(pair(layer, index)) == (layer, index)


@given(st.integers(0, 10**15))
def test_every_number_is_a_pair(number):
    layer, index = unpair(number)
    assert layer >= 0
    assert index >= 0
    assert pair(layer, index) == number


def labelled(key: str, pinned: str = "") -> GraphLabel:
    url = f'neuronpedia.org/m/graph?slug=s&pinnedIds={pinned}&clerps=[["{key}","x"]]'
    return parse_graph_url(url).labels[0]


def place(label: GraphLabel) -> tuple[int | None, int | None]:
    return label.layer, label.index


def test_numbers_of_labels_are_told_apart():
    # Cantor's pairing with the layer before it, as newer graphs write.
    assert place(labelled("14_200290090_37")) == (14, 19999)
    # Layer × 100,000 + index, alone, as older graphs write.
    assert place(labelled("2308855")) == (23, 8855)
    assert place(labelled(str(pair(14, 19999)))) == (14, 19999)
    # 5 is feature 5 of layer 0, or the pair (0, 2): only a node of the graph can say.
    assert place(labelled("0_5_3")) == (None, None)
    assert place(labelled("0_5_3", "0_5_3")) == (0, 5)
    assert place(labelled("0_5_3", "0_2_3")) == (0, 2)
    assert place(labelled("0_5_3", "0_2_4")) == (None, None)


nodes = st.builds(
    lambda layer, index, position: GraphNode.parse(f"{layer}_{index}_{position}"),
    st.integers(0, 60) | st.just("E"),
    st.integers(0, 10**6),
    st.integers(0, 500),
)
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)


@given(
    st.lists(nodes, max_size=4),
    st.lists(st.tuples(words, st.lists(nodes, max_size=3)), max_size=3),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**5), words), max_size=3),
    st.dictionaries(
        st.sampled_from(["clickedId", "pruningThreshold"]), st.text("0123_."), max_size=2
    ),
)
def test_any_graph_address_survives(pinned, groups, labels, options):
    options = {name: value for name, value in options.items() if value}
    link = GraphLink(
        model="m",
        slug="a-slug",
        pinned=tuple(pinned),
        supernodes=tuple(Supernode(label=name, nodes=tuple(found)) for name, found in groups),
        labels=tuple(
            GraphLabel(
                key=f"{layer}_{pair(layer, n)}_1", label=text, layer=layer, index=n, position=1
            )
            for layer, n, text in labels
        ),
        options=options,
    )
    again = parse_graph_url(graph_url(link))
    assert (again.pinned, again.supernodes, again.options) == (
        link.pinned,
        link.supernodes,
        link.options,
    )
    assert [(one.key, one.label) for one in again.labels] == [
        (one.key, one.label) for one in link.labels
    ]
    for one, two in zip(link.labels, again.labels, strict=True):
        assert place(two) in (place(one), (None, None)) or (two.layer, two.index) in {
            (node.layer, node.index) for node in link.nodes
        }


@pytest.mark.parametrize(
    "query",
    [
        "",
        "slug=",
        "slug=s&pinnedIds=x",
        "slug=s&pinnedIds=1_2",
        "slug=s&pinnedIds=1_2_3_4",
        "slug=s&pinnedIds=1_-2_3",
        "slug=s&supernodes=[",
        "slug=s&supernodes={}",
        "slug=s&supernodes=[[1]]",
        "slug=s&supernodes=[[]]",
        'slug=s&clerps=[["1_2_3"]]',
        'slug=s&clerps=[["a","b"]]',
        "slug=s&supernodes=" + "[" * 100_000,
    ],
)
def test_bad_graph_addresses_are_refused(query):
    with pytest.raises(InputError):
        parse_graph_url(f"https://www.neuronpedia.org/m/graph?{query}")
