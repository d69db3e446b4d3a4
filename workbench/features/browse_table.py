"""All features as one table in memory, answered by DuckDB: ordered once, then read in pages.

Queries are put together from checked column names; every value goes in as a parameter.
"""

# ruff: noqa: S608

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from workbench.errors import InputError, LoadError, unknown
from workbench.features.browse_query import FLAGS, BrowseQuery, Hits, checked, clause_of
from workbench.features.refs import FeatureRef, FeatureSet

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.index.queries import FeatureIndex

__all__ = ["MAP", "BrowseQuery", "BrowseTable", "Hits"]

MAP = ("map_x", "map_y")
"""Columns of the map of decoder directions."""

_ORDERS = 6


class BrowseTable:
    """Every feature with its statistics and label.

    A query's order is worked out once and kept; a page of it is then a look-up.

    Parameters
    ----------
    frame
        One row per feature: ``sae``, ``feature`` and statistics. A DataFrame or an Arrow table.
    """

    def __init__(self, frame: Any) -> None:
        import duckdb
        import pyarrow as pa

        if not isinstance(frame, pa.Table):
            frame = pa.Table.from_pandas(frame, preserve_index=False)
        self._lock = threading.RLock()
        self._database = duckdb.connect(":memory:")
        self._begin(_without_nan(frame))

    @classmethod
    def of_index(cls, index: FeatureIndex) -> BrowseTable:
        """Read the statistics of an index."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        named = [name for name in index.table.columns if name != "sae"]
        pieces = []
        for name in index.saes:
            path = index.path / index.sae(name)["folder"] / "stats.parquet"
            try:
                piece = pq.read_table(path, columns=named)
            except (OSError, pa.ArrowException) as error:
                raise LoadError(f"the statistics of {name} cannot be read: {error}") from error
            pieces.append(piece.add_column(0, "sae", pa.repeat(pa.scalar(name), len(piece))))
        return cls(pa.concat_tables(pieces))

    def _begin(self, given: Any) -> None:
        cursor = self._database.cursor()
        cursor.register("given", given)
        cursor.execute(
            "CREATE TABLE base AS SELECT (row_number() OVER ()) - 1 AS row, * FROM given"
        )
        self._stored = tuple(str(name) for name in given.column_names)
        missing = {"sae", "feature"} - set(self._stored)
        if missing:
            raise InputError(f"a table of features needs the columns {sorted(missing)}")
        self.statistics: tuple[str, ...] = tuple(
            name for name in self._stored if name not in ("sae", "feature", *FLAGS)
        )
        """Columns of numbers."""
        self.saes: tuple[str, ...] = tuple(
            str(row[0])
            for row in self._database.execute(
                "SELECT sae FROM base GROUP BY sae ORDER BY min(row)"
            ).fetchall()
        )
        self._rows = int(self._database.execute("SELECT count(*) FROM base").fetchall()[0][0])
        spans = self._database.execute(
            "SELECT sae, min(row), count(*), max(feature) + 1 FROM base GROUP BY sae"
        ).fetchall()
        self._starts = {str(sae): int(start) for sae, start, _, _ in spans}
        self._sizes = {str(sae): int(count) for sae, _, count, _ in spans}
        if any(count != size for _, _, count, size in spans):
            raise InputError("a table of features needs every feature of an SAE once, in order")
        self._labels: dict[FeatureRef, str] = {}
        self._map: Float[np.ndarray, "row 2"] | None = None
        self._places: weakref.WeakKeyDictionary[Hits, dict[int, int]] = weakref.WeakKeyDictionary()
        self._orders: OrderedDict[Any, Int[np.ndarray, " rows"]] = OrderedDict()
        self._rebuild()

    def __len__(self) -> int:
        return self._rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that can be shown, sorted by and filtered on."""
        extra = MAP if self._map is not None else ()
        return (*self._stored, "label", "labelled", *extra)

    # -- what is laid beside the statistics -----------------------------------------------------

    @property
    def labels(self) -> Mapping[FeatureRef, str]:
        """Labels by feature. Untrusted text."""
        return self._labels

    def set_labels(self, labels: Mapping[FeatureRef, str]) -> None:
        """Take labels; ones of features that are not in the table are left out."""
        known = {
            # Half a character, which no file of text can hold, has no place here either.
            ref: text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            for ref, text in labels.items()
            if 0 <= ref.index < self._sizes.get(ref.sae, 0)
        }
        with self._lock:
            if known != self._labels:
                self._labels = known
                self._rebuild()

    @property
    def mapped(self) -> bool:
        """Whether the map of decoder directions is in the table."""
        return self._map is not None

    def set_map(self, places: Float[np.ndarray, "row 2"]) -> None:
        """Take the map: where each feature lies, NaN where it has no place."""
        if places.shape != (self._rows, 2):
            raise InputError(f"a map of {self._rows:,} features got shape {places.shape}")
        with self._lock:
            self._map = places.astype(np.float32)
            self._rebuild()

    def _rebuild(self) -> None:
        import pyarrow as pa

        rows = self._rows_of(self._labels)
        labels = pa.table(
            {"row": rows, "label": pa.array(list(self._labels.values()), pa.string())}
        )
        joins, extra = " LEFT JOIN labels USING (row)", ", label, label IS NOT NULL AS labelled"
        cursor = self._database.cursor()
        cursor.register("labels", labels)
        if self._map is not None:
            number = np.arange(self._rows, dtype=np.int64)
            # DuckDB has both NULL and NaN; a feature without a place has none.
            x, y = (pa.array(self._map[:, at], from_pandas=True) for at in range(2))
            cursor.register("places", pa.table({"row": number, "map_x": x, "map_y": y}))
            joins += " LEFT JOIN places USING (row)"
            extra += ", map_x, map_y"
        cursor.execute("DROP TABLE IF EXISTS browse")
        cursor.execute(f"CREATE TABLE browse AS SELECT base.*{extra} FROM base{joins} ORDER BY row")
        self._orders.clear()

    # -- questions -------------------------------------------------------------------------------

    def row_of(self, ref: FeatureRef) -> int:
        """Return the row of a feature.

        Raises
        ------
        InputError
            It is not in the table.
        """
        if ref.sae not in self._starts:
            raise InputError(unknown("SAE in this table", ref.sae, self.saes))
        if not 0 <= ref.index < self._sizes[ref.sae]:
            last = self._sizes[ref.sae] - 1
            raise InputError(f"{ref.sae} has features 0 to {last:,}, got {ref.index:,}")
        return self._starts[ref.sae] + ref.index

    def order(self, query: BrowseQuery) -> Int[np.ndarray, " rows"]:
        """Return the rows a query gives, in its order.

        Raises
        ------
        InputError
            A column or an operator is unknown, or a value does not fit its column.
        """
        where = checked(query.where, self.columns, self.saes)
        key = (where, query.order_by, query.descending, query.hits, query.only)
        with self._lock:
            found = self._orders.get(key)
            if found is not None:
                self._orders.move_to_end(key)
                return found
            clause, values = clause_of(where, self.columns, self.saes)
            by = self._sorting(query)
            cursor = self._database.cursor()
            source = self._source(cursor, query)
            direction = "DESC" if query.descending else "ASC"
            text = f"SELECT row FROM {source}{clause} ORDER BY {by} {direction} NULLS LAST, row"
            ordered = self._run(cursor, text, values).fetchnumpy()["row"].astype(np.int64)
            self._orders[key] = ordered
            while len(self._orders) > _ORDERS:
                self._orders.popitem(last=False)
            return ordered

    def gather(self, rows: Int[np.ndarray, " n"], hits: Hits | None = None) -> pd.DataFrame:
        """Return rows of the table in the order given; with `hits`, also ``score`` and ``why``."""
        with self._lock:
            cursor = self._database.cursor()
            # rowid is row: the table was written in that order.
            table = cursor.execute(
                "SELECT * FROM browse WHERE rowid IN (SELECT unnest(?::BIGINT[]))",
                [[int(row) for row in rows]],
            ).df()
        table = table.set_index("row").loc[rows].reset_index(drop=True)
        label = table["label"].astype(object)
        table["label"] = label.where(label.notna(), None)
        if hits is not None:
            slots = self._slots(rows, hits)
            table["score"] = hits.score[slots]
            table["why"] = [hits.why[slot] for slot in slots]
        return table

    def page(self, query: BrowseQuery, first: int = 0, count: int | None = 100) -> pd.DataFrame:
        """Return some rows of a query's answer."""
        ordered = self.order(query)
        return self.gather(ordered[first : None if count is None else first + count], query.hits)

    def features(self, query: BrowseQuery, most: int | None = None) -> FeatureSet:
        """Return the features of a query's answer."""
        table = self.page(query, 0, most)
        return FeatureSet(
            tuple(
                FeatureRef(str(sae), int(index))
                for sae, index in zip(table["sae"], table["feature"], strict=True)
            )
        )

    def values(
        self, query: BrowseQuery, names: tuple[str, ...]
    ) -> tuple[Int[np.ndarray, " rows"], tuple[Float[np.ndarray, " rows"], ...]]:
        """Return the rows of a query, ascending, and what they have in some columns of numbers."""
        for name in names:
            self._number(name)
        chosen = ", ".join(f'"{name}"' for name in names)
        clause, values = clause_of(query.where, self.columns, self.saes)
        with self._lock:
            cursor = self._database.cursor()
            source = self._source(cursor, query)
            text = f"SELECT row, {chosen} FROM {source}{clause} ORDER BY row"
            found = self._run(cursor, text, values).fetchnumpy()
        columns = tuple(
            np.ma.filled(np.ma.asarray(found[name]).astype(np.float64), np.nan) for name in names
        )
        return found["row"].astype(np.int64), columns

    # -- pieces of queries -----------------------------------------------------------------------

    def _run(self, cursor: Any, text: str, values: list[Any]) -> Any:
        import duckdb

        try:
            return cursor.execute(text, values)
        except duckdb.Error as error:
            raise InputError(f"the filter does not fit its column: {error}") from error

    def _source(self, cursor: Any, query: BrowseQuery) -> str:
        """Say what to select from: the table, joined with what was found, of what is asked for."""
        import pyarrow as pa

        source = "browse"
        if query.hits is not None:
            score = np.asarray(query.hits.score, np.float64)
            cursor.register(
                "hits", pa.table({"row": self._rows_of(query.hits.refs), "score": score})
            )
            source += " JOIN hits USING (row)"
        if query.only is not None:
            cursor.register("chosen", pa.table({"row": self._rows_of(query.only)}))
            source += " SEMI JOIN chosen USING (row)"
        return source

    def _rows_of(self, refs: Iterable[FeatureRef]) -> Int[np.ndarray, " n"]:
        return np.array([self.row_of(ref) for ref in refs], dtype=np.int64)

    def _sorting(self, query: BrowseQuery) -> str:
        if query.order_by == "score":
            if query.hits is None:
                raise InputError("there is no score to sort by without a search")
            return "score"
        if query.order_by not in self.columns:
            raise InputError(unknown("column", query.order_by, self.columns))
        return f'"{query.order_by}"'

    def _number(self, name: str) -> None:
        numbers = (*self.statistics, *(MAP if self.mapped else ()))
        if name not in numbers:
            raise InputError(unknown("column of numbers", name, numbers))

    def _slots(self, rows: Int[np.ndarray, " n"], hits: Hits) -> list[int]:
        """Where rows are among the hits; remembered, for pages come one after another."""
        places = self._places.get(hits)
        if places is None:
            places = {self.row_of(ref): at for at, ref in enumerate(hits.refs)}
            self._places[hits] = places
        return [places[int(row)] for row in rows]


def _without_nan(table: Any) -> Any:
    """Make every NaN missing: to DuckDB a NaN is larger than any number.

    Not in DuckDB, which takes Parquet's word for it that a column without missing values has none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for at, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(at)
            cleaned = pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
            table = table.set_column(at, field.name, cleaned)
    return table
