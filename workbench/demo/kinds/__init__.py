"""The kinds of document of the demo corpus, one module each."""

from __future__ import annotations

from workbench.demo.kinds import agreement, entity_chat, facts
from workbench.demo.kinds.base import Kind

ALL: tuple[Kind, ...] = (
    facts.KIND,
    entity_chat.KIND,
    agreement.KIND,
)
