"""Words shared by several kinds of document: fillers, nouns, verbs and first names."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.demo.drafting import listed
from workbench.demo.names import MEN, WOMEN

FIRST_NAMES = WOMEN + MEN


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Split "cat/cats dog/dogs" into pairs."""
    halves = (entry.split("/") for entry in listed(text))
    return tuple((first, second) for first, second in halves)


# (singular, plural).  Subjects and distractors of the agreement sentences.
NOUN_PAIRS: tuple[tuple[str, str], ...] = _pairs(
    "manager/managers doctor/doctors teacher/teachers farmer/farmers singer/singers "
    "guard/guards author/authors clerk/clerks pilot/pilots driver/drivers actor/actors "
    "senator/senators student/students tailor/tailors baker/bakers editor/editors "
    "lawyer/lawyers sailor/sailors visitor/visitors painter/painters cousin/cousins "
    "banker/bankers dancer/dancers officer/officers neighbor/neighbors customer/customers "
    "uncle/uncles architect/architects minister/ministers judge/judges gardener/gardeners "
    "waiter/waiters"
)
THING_PAIRS: tuple[tuple[str, str], ...] = _pairs(
    "key/keys picture/pictures report/reports lamp/lamps bottle/bottles book/books "
    "cabinet/cabinets door/doors window/windows table/tables basket/baskets clock/clocks "
    "wall/walls garden/gardens building/buildings car/cars ship/ships engine/engines "
    "letter/letters painting/paintings tower/towers chair/chairs machine/machines "
    "carpet/carpets"
)
# (with a singular subject, with a plural subject).
VERBS_INTRANSITIVE: tuple[tuple[str, str], ...] = _pairs(
    "laughs/laugh waits/wait smiles/smile sleeps/sleep travels/travel arrives/arrive "
    "swims/swim works/work sings/sing returns/return shouts/shout stays/stay"
)
VERBS_TRANSITIVE: tuple[tuple[str, str], ...] = _pairs(
    "likes/like admires/admire hates/hate knows/know helps/help follows/follow avoids/avoid "
    "trusts/trust visits/visit remembers/remember ignores/ignore praises/praise"
)

FILLERS: Mapping[str, tuple[str, ...]] = {
    "opener": (
        "",
        "",
        "",
        "as many people remember ,",
        "according to the guide ,",
        "as the records show ,",
        "in fact ,",
        "it is well documented that",
        "the archive says that",
        "readers often ask , and the answer is simple :",
    ),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": ("January", "March", "April", "June", "August", "October", "November"),
    "when": (
        "every {day}",
        "in {month}",
        "at night",
        "in the morning",
        "after lunch",
        "before dinner",
        "on {day}",
        "late in {month}",
        "most evenings",
        "at noon",
        "during the holidays",
        "before sunrise",
        "all afternoon",
        "once a week",
        "from time to time",
    ),
    "where": (
        "near the {spot}",
        "in the {spot}",
        "behind the {spot}",
        "outside the {spot}",
        "next to the {spot}",
    ),
    "spot": (
        "station",
        "market",
        "library",
        "square",
        "theater",
        "harbor",
        "museum",
        "bakery",
        "school",
        "park",
        "bridge",
        "hospital",
        "garage",
        "fountain",
        "tower",
        "cafe",
    ),
    "weather": ("rain", "wind", "snow", "fog", "heat", "frost"),
}
