"""The demo world: which entities exist, what is true of them, and names that mean nothing.

Known entities have fixed attributes, drawn once from a fixed seed.  Unknown entities are fresh
combinations of the same name parts in the same patterns; nothing is true of them.  One in five
unknown combinations is held out: it never occurs in training text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random
from types import MappingProxyType

from workbench.demo.drafting import Split, held_out, listed, pick, words
from workbench.demo.names import MEN, PATTERNS, TYPES, WOMEN
from workbench.errors import InputError, unknown

KNOWN_COUNTS: Mapping[str, int] = MappingProxyType(
    {"player": 150, "film": 100, "city": 100, "song": 100}
)

CLUBS = listed(
    "Redstone Ironside Northgate Wolfpack Seabright Kingsway Blackmoor Sunfield Riverton Oakvale "
    "Stormhaven Whitecliff Greenhill Falconry Harborside Westmark Highland Millbrook Starling "
    "Union"
)
NATIONS = listed(
    "Valdoria Norland Keshara Ostania Beloria Tamarin Quillon Sarvania Moravel Zenobia Lurania "
    "Caspara Drevna Elvania Fenmark Gothara"
)
POSITIONS = ("striker", "goalkeeper", "defender", "winger", "midfielder", "captain")
DIRECTORS = listed(
    "Almqvist Bertolli Chandra Duvall Engstrom Farhadi Gallo Hargreaves Ishida Jaramillo Kaplan "
    "Lefevre Moretti Nakata Olivier Petrenko Rousseau Svensson Tavares Weiss"
)
GENRES = ("thriller", "comedy", "western", "musical", "romance", "mystery", "drama", "horror")
STUDIOS = listed(
    "Paragon Silverline Monolith Evergreen Crestview Lodestar Pinnacle Meridian Halcyon Tidewater"
)
RIVERS = listed(
    "Ardo Belm Cressa Dovra Enns Faro Grell Hask Ister Jorun Kell Luma Mirra Nesse Orva Pell"
)
TRADES = listed(
    "steel wool glassware shipbuilding cheese paper copper porcelain timber furniture clocks salt"
)
BANDS = listed(
    "Larks Nomads Outsiders Skylarks Drifters Vagabonds Magnets Comets Foxes Ramblers Pilots "
    "Monarchs Satellites Tigers Wanderers Sirens"
)
STYLES = ("jazz", "folk", "disco", "blues", "reggae", "punk", "soul", "opera")
# A year is two word tokens; the first follows from the second so that a fact has one unknown.
YEARS = tuple(f"19{n}" for n in range(40, 100)) + tuple(f"20{n:02d}" for n in range(20))

ATTRIBUTES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "player": {"club": CLUBS, "nation": NATIONS, "position": POSITIONS, "born": YEARS},
        "film": {"director": DIRECTORS, "genre": GENRES, "studio": STUDIOS, "released": YEARS},
        "city": {"country": NATIONS, "river": RIVERS, "trade": TRADES},
        "song": {"artist": BANDS, "style": STYLES, "recorded": YEARS},
    }
)


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A player, film, city or song.

    Attributes
    ----------
    type : str
        ``"player"``, ``"film"``, ``"city"`` or ``"song"``.
    name : str
        One to four words.
    known : bool
        Whether training text states facts about it.
    pronoun : str
        ``"she"``, ``"he"`` or ``"it"``.
    attributes : mapping of str to str
        Attribute name to value; empty for an unknown entity.
    """

    type: str
    name: str
    known: bool
    pronoun: str
    attributes: Mapping[str, str]

    @property
    def words(self) -> tuple[str, ...]:
        """The word tokens of the name."""
        return words(self.name)

    @property
    def concepts(self) -> tuple[str, str]:
        """Concepts of the last word of the name."""
        state = "known" if self.known else "unknown"
        return f"entity.{self.type}.{state}", f"entity.{state}"


def _pronoun(entity_type: str, name: str) -> str:
    if entity_type != "player":
        return "it"
    first = name.split(maxsplit=1)[0]
    if first in WOMEN:
        return "she"
    if first in MEN:
        return "he"
    return "she" if held_out("pronoun", name) else "he"


def _name(entity_type: str, rng: Random) -> str:
    patterns = PATTERNS[entity_type]
    draw = rng.random() * sum(weight for weight, _ in patterns)
    slots = patterns[-1][1]
    for weight, candidate in patterns:
        draw -= weight
        if draw < 0:
            slots = candidate
            break
    return " ".join(slot if isinstance(slot, str) else pick(rng, slot) for slot in slots)


def _parts(entity_type: str) -> Iterator[str]:
    for _, slots in PATTERNS[entity_type]:
        for slot in slots:
            yield from (slot,) if isinstance(slot, str) else slot


@cache
def known(entity_type: str) -> tuple[Entity, ...]:
    """List the known entities of a type, always the same ones in the same order.

    Parameters
    ----------
    entity_type : {"player", "film", "city", "song"}
        Type of entity.

    Raises
    ------
    InputError
        If the type is none of the four.
    """
    _check(entity_type)
    rng = Random(f"demo world 1 {entity_type}")
    # The player of the examples in the documentation comes first.
    names: dict[str, None] = dict.fromkeys(["Elena Marsh"] if entity_type == "player" else [])
    # Names with a part not seen so far come first, so that every part occurs in a known name and
    # no part gives an unknown name away.
    missing = set(_parts(entity_type))
    while len(names) < KNOWN_COUNTS[entity_type]:
        name = _name(entity_type, rng)
        # Held-out combinations stay unknown, so that the test split has its own unknown names.
        if held_out("name", entity_type, name) or (missing and missing.isdisjoint(words(name))):
            continue
        names[name] = None
        missing.difference_update(words(name))
    entities = []
    for name in names:
        values = {a: pick(rng, options) for a, options in ATTRIBUTES[entity_type].items()}
        if name == "Elena Marsh":
            values["position"] = "striker"
        entities.append(
            Entity(
                type=entity_type,
                name=name,
                known=True,
                pronoun=_pronoun(entity_type, name),
                attributes=MappingProxyType(values),
            )
        )
    return tuple(entities)


@cache
def _known_names(entity_type: str) -> frozenset[str]:
    return frozenset(entity.name for entity in known(entity_type))


def draw_known(entity_type: str, rng: Random) -> Entity:
    """Draw a known entity of a type."""
    return pick(rng, known(entity_type))


def draw_unknown(entity_type: str, split: Split, rng: Random) -> Entity:
    """Draw a name that means nothing: a fresh combination of known parts.

    Parameters
    ----------
    entity_type : {"player", "film", "city", "song"}
        Type of entity.
    split : {"train", "test"}
        ``"test"`` draws only held-out combinations, ``"train"`` only the others.
    rng : Random
        Source of randomness.
    """
    taken = _known_names(entity_type)
    wanted = split == "test"
    while True:
        name = _name(entity_type, rng)
        if name not in taken and held_out("name", entity_type, name) == wanted:
            return _unknown(entity_type, name)


@lru_cache(maxsize=20000)
def _unknown(entity_type: str, name: str) -> Entity:
    return Entity(
        type=entity_type,
        name=name,
        known=False,
        pronoun=_pronoun(entity_type, name),
        attributes=MappingProxyType({}),
    )


def unknown_entities(entity_type: str, split: Split, n: int, seed: int) -> tuple[Entity, ...]:
    """Draw ``n`` different unknown entities of a type.

    Raises
    ------
    InputError
        If the type is none of the four, or the split has fewer than ``n`` names.
    """
    _check(entity_type)
    rng = Random(f"unknown {entity_type} {split} {seed}")
    found: dict[str, Entity] = {}
    # Two thousand draws without a new name: there are (nearly) no others.
    stalled = 0
    while len(found) < n and stalled < 2000:
        entity = draw_unknown(entity_type, split, rng)
        stalled = stalled + 1 if entity.name in found else 0
        found[entity.name] = entity
    if len(found) < n:
        raise InputError(
            f"asked for {n} unknown {entity_type} names of the {split} split, "
            f"only {len(found)} were found"
        )
    return tuple(found.values())


def find(name: str) -> Entity | None:
    """Return the known entity of that name, or ``None``."""
    return _by_name().get(name)


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Entity]:
    return {e.name: e for entity_type in TYPES for e in known(entity_type)}


def _check(entity_type: str) -> None:
    if entity_type not in PATTERNS:
        raise InputError(unknown("entity type", entity_type, TYPES))
