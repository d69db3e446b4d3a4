"""Pages of a table of a million features, beside the bare DuckDB query for the same rows.

    python benchmarks/browser.py [--features 1000000]

The floor is DuckDB alone: one ORDER BY ... LIMIT ... OFFSET over the same rows in memory, which is
what a page costs where nothing is kept between pages.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import duckdb
import numpy as np
import pandas as pd

from workbench.features.browse_query import BrowseQuery
from workbench.features.browse_table import BrowseTable

PAGE = 150
SAES = 40


def table(features: int, seed: int) -> pd.DataFrame:
    """Made-up statistics of `features` features, 2% of them dead."""
    rng = np.random.default_rng(seed)
    per = features // SAES
    n = per * SAES
    dead = rng.random(n) < 0.02
    columns = {
        name: np.where(dead, np.nan, rng.lognormal(0, 1, n))
        for name in ("mean", "std", "second_moment", "max", "min", "median", "p90", "p99")
    }
    density = np.where(dead, 0, np.minimum(1, rng.lognormal(-6, 1.5, n)))
    return pd.DataFrame(
        {
            "sae": np.repeat([f"resid_post.{number}" for number in range(SAES)], per),
            "feature": np.tile(np.arange(per, dtype=np.int32), SAES),
            "count": (density * 1e7).astype(np.int64),
            "density": density,
            **columns,
            "dead": dead,
            "dense": density > 0.01,
        }
    )


def spent(work: Callable[[], object], repeats: int) -> np.ndarray:
    """Seconds each of `repeats` calls took."""
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return np.array(took)


def told(name: str, seconds: np.ndarray) -> None:
    """Print median and 95th percentile in milliseconds."""
    middle, high = np.percentile(seconds * 1e3, [50, 95])
    print(f"{name:<52} median {middle:8.1f} ms   p95 {high:8.1f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    frame = table(chosen.features, chosen.seed)
    rng = np.random.default_rng(chosen.seed + 1)
    start = time.perf_counter()
    made = BrowseTable(frame)
    print(f"{len(made):,} features; table ready in {time.perf_counter() - start:.2f} s")

    bare = duckdb.connect()
    bare.execute("CREATE TABLE features AS SELECT * FROM frame")
    offsets = rng.integers(0, len(made) - PAGE, chosen.pages).tolist()
    floor = "SELECT * FROM features ORDER BY max DESC NULLS LAST, sae, feature LIMIT {} OFFSET {}"

    def ordering(column: str, bound: float) -> None:
        made.order(BrowseQuery(where=(("density", "<", bound),), order_by=column))

    bounds = iter(rng.uniform(0.5, 1, 6).tolist())
    told("a new sort and filter", spent(lambda: ordering("p99", next(bounds)), 6))
    query = BrowseQuery(order_by="max")
    made.order(query)
    near, far = iter(offsets), iter(offsets)
    told(
        f"a page of {PAGE} anywhere in it",
        spent(lambda: made.page(query, next(near), PAGE), chosen.pages),
    )
    told(
        "bare DuckDB, the same pages",
        spent(lambda: bare.execute(floor.format(PAGE, next(far))).df(), chosen.pages),
    )
    told("bare DuckDB, the first page", spent(lambda: bare.execute(floor.format(PAGE, 0)).df(), 6))
    told("two columns of all rows", spent(lambda: made.values(query, ("density", "max")), 6))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"peak memory {peak:,.0f} MiB, the made-up table and DuckDB's copy of it included")


if __name__ == "__main__":
    main()
