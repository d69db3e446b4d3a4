"""All features of an index as one table, answered by DuckDB over the Parquet files.

Queries are put together from column names that were checked, numbers, and quoted names; every other
value goes in as a parameter.
"""

# ruff: noqa: S608

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, unknown
from workbench.features.index.finish import STATISTICS
from workbench.features.refs import FeatureRef, FeatureSet

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FeatureTable"]

_MOST_IN_MEMORY = 4_000_000
_OPERATORS = ("=", "!=", "<", "<=", ">", ">=")


class FeatureTable:
    """Every feature with its statistics: sorted, filtered and cut without being read whole.

    Parameters
    ----------
    path
        Folder of the index.
    saes
        Description of each SAE by name.
    """

    def __init__(self, path: Path, saes: Mapping[str, Mapping[str, Any]]) -> None:
        import duckdb

        self._lock = threading.Lock()
        self._database = duckdb.connect(":memory:")
        numbers = [field.name for field in STATISTICS if not str(field.type).startswith("list")]
        self.columns: tuple[str, ...] = ("sae", *numbers)
        """Columns that can be shown, sorted by and filtered on."""
        every = ", ".join(_name(name) for name in numbers)
        # The numbers of a few million features fit in memory, where sorting them takes
        # milliseconds; the much longer table of contexts stays on disk.
        small = sum(sae["d_sae"] for sae in saes.values()) <= _MOST_IN_MEMORY
        for view, table, columns, kind in (
            ("features", "stats", every, "TABLE" if small else "VIEW"),
            ("contexts", "contexts", "*", "VIEW"),
        ):
            pieces = [
                f"SELECT {_text(name)} AS sae, {columns} "
                f"FROM read_parquet({_text(str(path / sae['folder'] / f'{table}.parquet'))})"
                for name, sae in saes.items()
            ]
            self._database.execute(f"CREATE {kind} {view} AS {' UNION ALL '.join(pieces)}")
        documents = _text(str(path / "documents.parquet"))
        self._database.execute(f"CREATE VIEW documents AS SELECT * FROM read_parquet({documents})")

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Ask anything in SQL.

        Parameters
        ----------
        query
            Over the tables ``features`` (one row per feature), ``contexts`` (the activations kept:
            ``rank`` ≥ 0 for the strongest, ``sampled`` for those drawn at random; with
            ``position``, ``token`` id, ``document`` and ``value``) and ``documents``.
        parameters
            Values for its ``?``.

        Raises
        ------
        InputError
            DuckDB refuses it.
        """
        import duckdb

        with self._lock:
            cursor = self._database.cursor()
        try:
            return cursor.execute(query, list(parameters)).df()
        except duckdb.Error as error:
            raise InputError(f"the query failed: {error}") from error

    def page(
        self,
        *,
        columns: Iterable[str] | None = None,
        where: Iterable[tuple[str, str, Any]] = (),
        order_by: str = "feature",
        descending: bool = False,
        limit: int | None = 100,
        offset: int = 0,
    ) -> pd.DataFrame:
        """Return some rows of the table.

        Parameters
        ----------
        columns
            Which columns; None for all.
        where
            Conditions that all must hold: (column, operator, value), the operator one of
            ``=  !=  <  <=  >  >=  in``.
        order_by, descending
            Column to sort by; equal rows by SAE and feature, missing numbers last.
        limit, offset
            Which rows.

        Raises
        ------
        InputError
            A column or an operator is unknown.
        """
        chosen = [self._column(name) for name in columns] if columns is not None else ["*"]
        clause, values = self._conditions(where)
        direction = "DESC" if descending else "ASC"
        query = (
            f"SELECT {', '.join(chosen)} FROM features{clause} "
            f"ORDER BY {self._column(order_by)} {direction} NULLS LAST, sae, feature"
        )
        if limit is not None:
            query += f" LIMIT {int(limit)} OFFSET {int(offset)}"
        return self.sql(query, values)

    def count(self, where: Iterable[tuple[str, str, Any]] = ()) -> int:
        """Return the number of features for which all conditions hold."""
        clause, values = self._conditions(where)
        return int(self.sql(f"SELECT count(*) AS n FROM features{clause}", values)["n"][0])

    def features(self, where: Iterable[tuple[str, str, Any]] = (), **options: Any) -> FeatureSet:
        """Return the features of `page` as a set."""
        rows = self.page(columns=["sae", "feature"], where=where, **options)
        refs = zip(rows["sae"], rows["feature"], strict=True)
        return FeatureSet(tuple(FeatureRef(str(sae), int(index)) for sae, index in refs))

    def on_tokens(self, tokens: Iterable[int], limit: int = 100) -> pd.DataFrame:
        """Return the features whose kept activations are on given tokens.

        Parameters
        ----------
        tokens
            Token ids.
        limit
            Most features.

        Returns
        -------
        DataFrame
            ``sae``, ``feature``; ``share``, the share of its strongest contexts that are on one of
            the tokens; ``value``, its largest activation there; by falling share, then value.
        """
        ids = [int(token) for token in tokens]
        return self.sql(
            "SELECT sae, feature, "
            "count(*) FILTER (token IN (SELECT unnest(?::INTEGER[]))) / count(*) AS share, "
            "max(value) FILTER (token IN (SELECT unnest(?::INTEGER[]))) AS value "
            "FROM contexts WHERE rank >= 0 GROUP BY sae, feature HAVING share > 0 "
            f"ORDER BY share DESC, value DESC, sae, feature LIMIT {int(limit)}",
            [ids, ids],
        )

    def _column(self, name: str) -> str:
        if name not in self.columns:
            raise InputError(unknown("column", name, self.columns))
        return _name(name)

    def _conditions(self, where: Iterable[tuple[str, str, Any]]) -> tuple[str, list[Any]]:
        pieces, values = [], []
        for column, operator, value in where:
            if operator == "in":
                options = list(value)
                pieces.append(f"{self._column(column)} IN ({', '.join('?' * len(options))})")
                values += options
                continue
            if operator not in _OPERATORS:
                raise InputError(unknown("operator", operator, (*_OPERATORS, "in")))
            pieces.append(f"{self._column(column)} {operator} ?")
            values.append(value)
        return (f" WHERE {' AND '.join(pieces)}" if pieces else ""), values


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
