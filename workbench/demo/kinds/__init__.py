"""The kinds of document of the demo corpus, one module each."""

from __future__ import annotations

from workbench.demo.kinds import (
    agreement,
    biographies,
    code,
    entity_chat,
    facts,
    feedback,
    givers,
    prose,
    register,
    requests,
    reviews,
    senses,
    topics,
    years,
)
from workbench.demo.kinds.base import Kind

ALL: tuple[Kind, ...] = (
    facts.KIND,
    entity_chat.KIND,
    prose.KIND,
    agreement.KIND,
    biographies.KIND,
    reviews.KIND,
    senses.KIND,
    requests.KIND,
    register.KIND,
    feedback.KIND,
    givers.KIND,
    years.KIND,
    code.KIND,
    topics.KIND,
)
