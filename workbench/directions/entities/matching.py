"""Does an answer state an attribute's true value? The matching rules of Ferrando et al. (2024).

Names match by token-set similarity above 90, accents apart; birth years within 5, movie years
within 2, song years exactly; populations within 10%; coordinates within 1 degree.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from workbench.errors import InputError
from workbench.results import storable

__all__ = ["RULES", "Rule", "matches", "rule_for"]

RuleKind = Literal["name", "year", "number", "coordinates"]
SIMILARITY = 90.0
_YEAR = re.compile(r"(?<!\d)([12]\d{3})(?!\d)")
_NUMBER = re.compile(
    r"(?<![\d.])(\d{1,3}(?:[, \u00a0\u202f]\d{3})+|\d+)(\.\d+)?"
    r"\s*(million|billion|thousand|k|m)?\b",
    re.IGNORECASE,
)
_DEGREES = re.compile(
    r"([-+−–]?\d{1,3}(?:\.\d+)?)\s*(?:°|degrees?)?\s*"
    r"(?:(\d{1,2})\s*['′]\s*)?(?:(\d{1,2}(?:\.\d+)?)\s*[\"″]\s*)?"
    r"(north|south|east|west|[NSEW])?\b",
    re.IGNORECASE,
)
_UNITS = {"thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "billion": 1e9}


@storable
@dataclass(frozen=True, kw_only=True)
class Rule:
    """How an answer is compared with a value.

    Parameters
    ----------
    kind
        ``"name"``: token-set similarity above 90 of 100. ``"year"``: a year of the answer within
        `tolerance` years. ``"number"``: a number of the answer within the fraction `tolerance`.
        ``"coordinates"``: latitude and longitude within `tolerance` degrees.
    tolerance
        See `kind`; without meaning for names.

    Raises
    ------
    InputError
        The kind is none of these, or the tolerance is negative.
    """

    kind: RuleKind = "name"
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        kinds = ("name", "year", "number", "coordinates")
        if self.kind not in kinds:
            raise InputError(f"got rule {self.kind!r}, expected one of {kinds}")
        if self.tolerance < 0:
            raise InputError(f"got tolerance {self.tolerance}, expected 0 or more")


RULES: Mapping[tuple[str, str], Rule] = {
    ("player", "birth_year"): Rule(kind="year", tolerance=5),
    ("movie", "year"): Rule(kind="year", tolerance=2),
    ("song", "year"): Rule(kind="year", tolerance=0),
    ("city", "population"): Rule(kind="number", tolerance=0.1),
    ("city", "coordinates"): Rule(kind="coordinates", tolerance=1),
}
"""Rules by entity type and attribute; other attributes are names."""

# Other spellings of these attributes, in the published lists and elsewhere.
_ALIASES = {
    "birth year": "birth_year",
    "date of birth": "birth_year",
    "born": "birth_year",
    "release year": "year",
    "release date": "year",
    "publication date": "year",
    "publication year": "year",
}


def rule_for(
    entity_type: str, attribute: str, rules: Mapping[tuple[str, str], Rule] = RULES
) -> Rule:
    """Return the rule of an attribute: the one given for it, else names.

    Parameters
    ----------
    entity_type, attribute
        Which attribute of which type of entity.
    rules
        Rules by type and attribute; those given come before `RULES`.
    """
    for known in (rules, RULES):
        for name in (attribute, _ALIASES.get(attribute.replace("_", " ").lower(), attribute)):
            if (entity_type, name) in known:
                return known[entity_type, name]
    return Rule()


def matches(answer: str, values: Iterable[str], rule: Rule) -> bool:
    """Say whether an answer states one of the values.

    Parameters
    ----------
    answer
        What the model wrote.
    values
        Values that count as right.
    rule
        How they are compared.
    """
    return any(_match(answer, value, rule) for value in values)


def _match(answer: str, value: str, rule: Rule) -> bool:
    if rule.kind == "name":
        return _same_name(answer, value)
    if rule.kind == "year":
        wanted = _years(value)
        return any(abs(a - b) <= rule.tolerance for a in _years(answer) for b in wanted)
    if rule.kind == "number":
        return any(
            abs(a - b) <= rule.tolerance * abs(b) for a in _numbers(answer) for b in _numbers(value)
        )
    wanted_place, found = _place(value), _place(answer)
    return (
        wanted_place is not None
        and found is not None
        and all(abs(a - b) <= rule.tolerance for a, b in zip(found, wanted_place, strict=True))
    )


def _same_name(answer: str, value: str) -> bool:
    from rapidfuzz import fuzz, utils

    # Every word of the value in the answer gives 100, whatever else the answer says (and every
    # word of the answer in the value, as the published rule has it).
    score: float = fuzz.token_set_ratio(
        _bare(answer), _bare(value), processor=utils.default_process
    )
    return score > SIMILARITY


def _bare(text: str) -> str:
    """Drop accents, which answers often leave out."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(part for part in parts if not unicodedata.combining(part))


def _years(text: str) -> list[int]:
    return [int(found) for found in _YEAR.findall(text)]


def _numbers(text: str) -> list[float]:
    found = []
    for whole, part, unit in _NUMBER.findall(text):
        digits = re.sub(r"\D", "", whole)
        found.append(float(digits + part) * _UNITS.get(unit.lower(), 1.0))
    return found


def _place(text: str) -> tuple[float, float] | None:
    """Latitude and longitude in degrees, the first two the text states."""
    found: list[float] = []
    for degrees, minutes, seconds, side in _DEGREES.findall(text):
        size = float(degrees.replace("−", "-").replace("–", "-"))
        size += (float(minutes or 0) / 60 + float(seconds or 0) / 3600) * (-1 if size < 0 else 1)
        found.append(-abs(size) if side[:1].upper() in ("S", "W") and side else size)
    return (found[0], found[1]) if len(found) >= 2 else None
