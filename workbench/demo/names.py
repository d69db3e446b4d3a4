"""The parts names are made of, and the patterns that put them together.

No complete name is a prefix of another, so the last word of a name is always recognisable as
such from the words before it; and every part occurs in known and in unknown names, so that no
single word tells whether an entity is known.
"""

from __future__ import annotations

from workbench.demo.drafting import listed

WOMEN = listed(
    "Elena Marta Nadia Ingrid Clara Sofia Hanna Petra Lucia Amara Freya Irene Nora Tessa Vera "
    "Wanda Yara Zora Bianca Carmen Daria Edith Fiona Greta Helga Isabel Judith Karin Lydia "
    "Miriam"
)
MEN = listed(
    "Anton Bruno Carlos Dmitri Emil Felix Gustav Hugo Ivan Jonas Karl Leon Marco Nils Oscar "
    "Pavel Quentin Rafael Stefan Tomas Ulrich Viktor Walter Xavier Yusuf Zoltan Adrian Boris "
    "Cedric Darius"
)
LAST = listed(
    "Marsh Holt Varga Lindqvist Okafor Brandt Castell Drummond Eriksen Falk Garrity Hartwell "
    "Ibarra Jansen Kovac Lorca Mercer Novak Ostrander Pryce Quiroga Rask Sandoval Thorne Ullman "
    "Vance Weller Yates Zeller Abbott Bellamy Corrigan Dahl Ellery Fontaine Grimm Hale Ingram "
    "Jarvis Kessler Langley Maddox Norling Oakes Pardo Quist Renner Sorel Tallis Underhill "
    "Valente Winslow Yarrow Zamora Ashdown Birch Crowe Delgado Eastman Fenn"
)

CITY_BEFORE = ("Port", "New", "Upper", "North", "Old", "Little", "Fort")
CITY_ALONE = listed(
    "Alderton Brackley Corvane Dunmore Eskwater Farrow Galloway Harwick Ilmenau Jarrow Kelso "
    "Lorne Malden Norwick Orsay Penrith Quarry Ravenna Selby Tarrant Ulverton Verdun Wexford "
    "Yarmouth Zelland Ambrose Belfield Carrick Drayton Elgin Fairburn Glennock Hadley Ivering "
    "Jessup Kirkwall Lindale Morven Nairn Oakham Pelham Quorn Rothbury Sandwick Tilbury Umber"
)
CITY_FIRST = listed(
    "Amber Bishop Cedar Dover Eagle Falcon Granite Heron Iron Juniper King Laurel Maple Otter "
    "Pine Quill Raven Silver Thistle Walnut Aspen Beacon Copperfield Drift Elk Fern Goose "
    "Hazel"
)
CITY_AFTER = (
    "Bay",
    "Falls",
    "Heights",
    "Bridge",
    "Harbour",
    "Mills",
    "Crossing",
    "Ford",
    "Hill",
    "Valley",
    "Point",
    "Green",
)

FILM_ADJECTIVES = listed(
    "Silent Broken Golden Hidden Crimson Final Distant Frozen Burning Empty Secret Savage Gentle "
    "Endless Forgotten Hollow Restless Scarlet Wicked Velvet Pale Bitter Lonely Electric"
)
# Nouns of titles that open with an article and of those that do not are different ones, so that
# no title is the end of another.
FILM_NOUNS = listed(
    "Harbor Garden Witness Empire Mirror Stranger Tower Passage Orchard Letter Voyage Widow "
    "Hunter Prophet Lantern Compass Island Carnival Throne Bargain Shadow Kingdom Verdict "
    "Outpost Chandelier Pilgrim"
)
FILM_LAST = listed(
    "Glass Ashes Thunder Sorrow Ivory Thorns Smoke Embers Dust Marble Winter Salt Honor Bones "
    "Copper Silence"
)

SONG_VERBS = listed(
    "Hold Carry Follow Chase Remember Borrow Paint Break Wake Promise Gather Whisper Trade Burn "
    "Feel Find Steal Lose Catch Light Open Cross Answer Wear"
)
SONG_NOUNS = listed(
    "Moon Summer Ocean Highway Morning Fire Heartbeat Radio Skyline River Angel Diamond Mountain "
    "Story Sunday Feather Engine Candle Window Pocket Season Bottle Ribbon Garland Melody Harvest "
    "Shoreline Midnight Paradise"
)
SONG_THINGS = listed(
    "Lights Footsteps Roses Strangers Colors Letters Dancers Voices Wings Echoes Horses "
    "Teardrops Sparrows Candles Shadows Trains Petals Windows"
)
SONG_PLACES = listed(
    "Rain Dark Distance Attic Desert Mist Twilight Suburbs Meadow Basement Snow Hallway Terrace "
    "Sand Moonlight Fog Storm Afternoon"
)
SONG_ADVERBS = (
    "Tonight",
    "Again",
    "Slowly",
    "Forever",
    "Tomorrow",
    "Softly",
    "Somehow",
    "Away",
    "Twice",
    "Home",
)

# type -> (weight, slots of the pattern): a slot is a constant word or a list of parts.
Pattern = tuple[int, tuple[str | tuple[str, ...], ...]]
PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "player": (
        (14, (WOMEN + MEN, LAST)),
        (2, (WOMEN + MEN, "de", LAST)),
        (2, (WOMEN + MEN, "van", "der", LAST)),
        (1, (LAST,)),
    ),
    "film": (
        (6, ("The", FILM_ADJECTIVES, FILM_NOUNS[::2])),
        (6, (FILM_ADJECTIVES, FILM_NOUNS[1::2])),
        (3, (FILM_NOUNS[1::2], "of", FILM_LAST)),
        (3, ("The", FILM_NOUNS[::2], "of", FILM_LAST)),
        (1, (FILM_LAST,)),
    ),
    "city": (
        (6, (CITY_BEFORE, CITY_ALONE)),
        (5, (CITY_FIRST, CITY_AFTER)),
        (2, ("Port", "Saint", CITY_ALONE)),
        (2, (CITY_FIRST, "by", "the", "Sea")),
        (2, (CITY_ALONE,)),
    ),
    "song": (
        (5, (SONG_VERBS, "the", SONG_NOUNS)),
        (5, (SONG_VERBS, "Me", SONG_ADVERBS)),
        (4, (SONG_THINGS, "in", "the", SONG_PLACES)),
        (4, (SONG_NOUNS, SONG_ADVERBS)),
        (1, (SONG_PLACES,)),
    ),
}
TYPES = tuple(PATTERNS)
