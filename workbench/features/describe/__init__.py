"""Descriptions of features in words, and how well they predict the features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.features.describe.endpoint import Endpoint
    from workbench.features.describe.evidence import Evidence, Excerpt, gather
    from workbench.features.describe.offline import answer_by_words, describe_by_statistics
    from workbench.features.describe.questions import Question, Score
    from workbench.features.describe.results import CostEstimate, Description, Descriptions
    from workbench.features.describe.run import Labeller, Scorer, describe
    from workbench.features.describe.settings import DescribeSettings

_HOMES = {
    "CostEstimate": "results",
    "DescribeSettings": "settings",
    "Description": "results",
    "Descriptions": "results",
    "Endpoint": "endpoint",
    "Evidence": "evidence",
    "Excerpt": "evidence",
    "Labeller": "run",
    "Question": "questions",
    "Score": "questions",
    "Scorer": "run",
    "answer_by_words": "offline",
    "describe": "run",
    "describe_by_statistics": "offline",
    "gather": "evidence",
}

__all__ = [
    "CostEstimate",
    "DescribeSettings",
    "Description",
    "Descriptions",
    "Endpoint",
    "Evidence",
    "Excerpt",
    "Labeller",
    "Question",
    "Score",
    "Scorer",
    "answer_by_words",
    "describe",
    "describe_by_statistics",
    "gather",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
