"""Does the model know this entity? Recognition directions (Ferrando et al. 2024).

`study` runs the whole of it; `Session.entities` is the same call. The parts can be used by
themselves: lists of entities (`bundled`, `entity_list`), what the model knows (`ask`), pushes along
directions (`steer`, `Push`), attention to names, a lasting edit of the weights
(`orthogonalised`), and directions that tell right from wrong answers (`uncertainty`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.directions.entities.answers import Asking, Knowledge, StoppedError, ask
    from workbench.directions.entities.attention import EntityAttention, attention_to_names
    from workbench.directions.entities.check import KnowledgeCheck, check_knowledge
    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.directions.entities.matching import Rule, matches
    from workbench.directions.entities.orthogonal import orthogonalised
    from workbench.directions.entities.prompts import EntityPrompt
    from workbench.directions.entities.pushes import Push
    from workbench.directions.entities.reading import RecognitionReading
    from workbench.directions.entities.records import Entity, bundled, entity_list, write_entities
    from workbench.directions.entities.run import study
    from workbench.directions.entities.steering import Condition, answer, steer
    from workbench.directions.entities.steering_results import EntitySteering, SteeredAnswer
    from workbench.directions.entities.styles import PromptStyle
    from workbench.directions.entities.uncertain import UncertaintyStudy, uncertainty

_HOMES = {
    "Asking": "answers",
    "Condition": "steering",
    "Entity": "records",
    "EntityAttention": "attention",
    "EntityPrompt": "prompts",
    "EntitySteering": "steering_results",
    "EntityStudy": "entity_study",
    "Knowledge": "answers",
    "KnowledgeCheck": "check",
    "PromptStyle": "styles",
    "Push": "pushes",
    "RecognitionReading": "reading",
    "Rule": "matching",
    "SteeredAnswer": "steering_results",
    "StoppedError": "answers",
    "UncertaintyStudy": "uncertain",
    "answer": "steering",
    "ask": "answers",
    "attention_to_names": "attention",
    "bundled": "records",
    "check_knowledge": "check",
    "entity_list": "records",
    "matches": "matching",
    "orthogonalised": "orthogonal",
    "steer": "steering",
    "study": "run",
    "uncertainty": "uncertain",
    "write_entities": "records",
}

__all__ = [
    "Asking",
    "Condition",
    "Entity",
    "EntityAttention",
    "EntityPrompt",
    "EntitySteering",
    "EntityStudy",
    "Knowledge",
    "KnowledgeCheck",
    "PromptStyle",
    "Push",
    "RecognitionReading",
    "Rule",
    "SteeredAnswer",
    "StoppedError",
    "UncertaintyStudy",
    "answer",
    "ask",
    "attention_to_names",
    "bundled",
    "check_knowledge",
    "entity_list",
    "matches",
    "orthogonalised",
    "steer",
    "study",
    "uncertainty",
    "write_entities",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
