"""Ranked features of a made-up classifier, for the judging view."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from browser import circuits

NAMES = ("resid_post.1/640", "mlp_out.1/88", "resid_post.2/55", "resid_post.0/31", "embed/9")
LABELS = {640: "she", 88: "hospital", 55: "his wife", 31: "university"}


class Sae:
    """Labels of an SAE."""

    def labels(self):
        return LABELS


class Session:
    """What the view asks of a session."""

    def __init__(self):
        self.saes = {name.split("/")[0]: Sae() for name in NAMES}
        self.lists = SimpleNamespace(label=lambda ref: "given" if ref.index == 9 else None)


def ranked(session=None, classes=("nurse", "professor")):
    """A classifier's features, strongest first."""
    return SimpleNamespace(
        names=NAMES,
        effect=np.array([-2.0, 1.5, -0.75, 0.5, 0.125]),
        activation=np.array([3.0, 2.0, 1.0, 0.5, 0.25]),
        train=SimpleNamespace(class_names=classes),
        classifier=SimpleNamespace(site="resid_post.3"),
        sites=("resid_post.1", "mlp_out.1"),
        settings={"method": "ig"},
        provenance=circuits.PROVENANCE,
        session=session,
    )


def brief(feature, label="she"):
    """A dashboard in short."""
    return {
        "feature": feature,
        "label": label,
        "density": 0.004,
        "maximum": 8.0,
        "counted": 1000,
        "complete": True,
        "gaps": False,
        "contexts": [
            {"tokens": [" said", " she", " left"], "values": [0.0, 8.0, 1.0], "peak": 1},
            {"tokens": ["<b>", " her"], "values": [0.0, 4.0], "peak": 1},
        ],
        "raises": [(" her", 1.25)],
        "lowers": [(" his", -1.0)],
    }
