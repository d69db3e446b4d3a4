"""Supernodes by label and by direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from browser import circuits

from workbench.circuits.grouping import group_by_label, group_by_similarity
from workbench.errors import InputError


class Dictionary:
    """Decoder rows by feature index."""

    def __init__(self, rows):
        self.rows = rows

    def decoder_rows(self, index):
        return torch.tensor(np.array([self.rows[i] for i in index], np.float32))


class Session:
    def __init__(self, saes):
        self.saes = saes


def test_one_label_at_one_position_is_one_group():
    groups = group_by_label(circuits.agreement(), circuits.LABELS)
    strengths = {"plural noun": 0.91 + 0.62 + 0.33, "plural noun carried over clause": 1.4 + 0.38}
    assert [group.name for group in groups] == sorted(strengths, key=lambda n: -strengths[n])
    plural = next(group for group in groups if group.name == "plural noun")
    assert plural.nodes == ("resid_post.1/640@2", "resid_post.0/31@2", "mlp_out.1/88@2")


def test_labels_of_features_count_at_every_position_and_case_does_not():
    labels = {"resid_post.0/31": "Plural  Noun", "resid_post.1/640": "plural noun "}
    (group,) = group_by_label(circuits.agreement(), labels)
    assert set(group.nodes) == {"resid_post.0/31@2", "resid_post.1/640@2"}
    with pytest.raises(InputError, match="3 labels for 18 nodes"):
        group_by_label(circuits.agreement(), ["a", "b", "c"])


def test_similar_decoders_at_one_position_are_one_group():
    rng = np.random.default_rng(0)
    common, other = rng.normal(size=(2, 16))

    def near():
        return common + 0.1 * rng.normal(size=16)

    saes = {
        "resid_post.2": Dictionary({640: 3 * near(), 55: other, 641: -common}),
        "attn_out.2": Dictionary({301: near()}),
        "resid_post.3": Dictionary({212: near(), 9: rng.normal(size=16)}),
        # The same direction at another position is another thing.
        "resid_post.1": Dictionary({640: near(), 7: rng.normal(size=16)}),
    }
    (group,) = group_by_similarity(
        circuits.agreement(), Session(saes), threshold=0.8, labels=circuits.LABELS
    )
    assert group.name == "plural subject"
    assert group.nodes == ("resid_post.3/212@6", "resid_post.2/640@6", "attn_out.2/301@6")
    (unnamed,) = group_by_similarity(circuits.agreement(), Session(saes), threshold=0.8)
    assert unnamed.name == "like resid_post.3/212"


def test_what_cannot_be_compared_is_refused():
    saes = {
        "resid_post.2": Dictionary({640: np.ones(4), 55: np.ones(4), 641: np.ones(4)}),
        "attn_out.2": Dictionary({301: np.ones(6)}),
    }
    with pytest.raises(InputError, match="different size"):
        group_by_similarity(circuits.agreement(), Session(saes))
    with pytest.raises(InputError, match="threshold = 0"):
        group_by_similarity(circuits.agreement(), Session(saes), threshold=0)
