"""PS-Eval: whether an SAE's features part the senses of a word.

Minegishi et al. 2025 ("Rethinking Evaluation of Sparse Autoencoders through the Representation of
Polysemous Words", arXiv:2501.06254). Two contexts share a word, in the same sense or not. Each is
written "{context} The {word} means", read at the last occurrence of the word, and the pair agrees
when the strongest feature is the same in both. A pair in the same sense is a positive: agreement
there is a true positive, agreement across senses a false positive. Specificity, the share of pairs
across senses that disagree, is what tells a dictionary that parts senses from one that names words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from workbench.directions.activations import select_rows, site_of
from workbench.directions.probe_fit import confusion, measures
from workbench.errors import InputError
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model.tokens import Tokens
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["SaePolysemy", "SensePairs", "ps_eval"]

TEMPLATE = "{context} The {word} means"


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class SaePolysemy:
    """One SAE, or the plain activations of one site, on all pairs.

    Parameters
    ----------
    source, site
        Name of the SAE (of the site for activations), and the site it reads.
    kind
        ``"features"``, or ``"residual"`` for the activation's largest dimension.
    agrees
        Whether the strongest unit is the same in both contexts.
    first, second
        The strongest unit of each context, −1 where no feature fires.
    """

    source: str
    site: str
    kind: str
    agrees: Bool[np.ndarray, " pair"] = field(repr=False)
    first: Int[np.ndarray, " pair"] = field(repr=False)
    second: Int[np.ndarray, " pair"] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SensePairs(Result):
    """PS-Eval of several SAEs.

    Parameters
    ----------
    words
        The word of each pair that was used.
    same
        Whether it has the same sense in both contexts.
    template
        How contexts were written.
    saes
        What each SAE makes of them.
    dropped
        Pairs that were not used: reason to number.
    """

    words: tuple[str, ...] = field(repr=False)
    same: Bool[np.ndarray, " pair"] = field(repr=False)
    template: str
    saes: tuple[SaePolysemy, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per SAE.

        Returns
        -------
        DataFrame
            ``source``, ``kind``, ``site``, ``tp``, ``fp``, ``fn``, ``tn``, ``accuracy``, ``f1``,
            ``precision``, ``recall``, ``specificity``, ``silent`` (contexts no feature fires on).
        """
        import pandas as pd

        rows = []
        for found in self.saes:
            tp, fp, fn, tn = (int(n) for n in confusion(self.same, found.agrees)[0])
            figures = measures(np.array([tp, fp, fn, tn]))
            silent = int((found.first < 0).sum() + (found.second < 0).sum())
            rows.append(
                {
                    "source": found.source,
                    "kind": found.kind,
                    "site": found.site,
                    "tp": tp,
                    "fp": fp,
                    "fn": fn,
                    "tn": tn,
                    **{
                        name: float(figures[name])
                        for name in ("accuracy", "f1", "precision", "recall")
                    },
                    "specificity": tn / (tn + fp) if tn + fp else float("nan"),
                    "silent": silent,
                }
            )
        return pd.DataFrame(rows)

    def summary(self) -> str:
        """Return one line: the SAE of the best accuracy."""
        table = self.to_pandas()
        best = table.sort_values("accuracy", ascending=False, kind="stable").iloc[0]
        return (
            f"PS-Eval on {len(self.words)} pairs: best {best['source']}, accuracy "
            f"{best['accuracy']:.3f}, specificity {best['specificity']:.3f}"
        )


def ps_eval(
    session: Session,
    pairs: Sequence[Any] | pd.DataFrame,
    *,
    saes: Sequence[str] | None = None,
    sites: Sequence[str] = (),
    template: str | None = TEMPLATE,
    batch_size: int = 64,
) -> SensePairs:
    """Run PS-Eval on pairs of contexts with a shared word.

    Parameters
    ----------
    session
        The session.
    pairs
        Objects, mappings or rows of a DataFrame with ``word``, ``sentence1``, ``sentence2`` and
        ``label`` (1 for the same sense): the layout of Words in Context, and of the demo world's
        ``polysemy`` task.
    saes
        SAEs to evaluate; all attached where None.
    sites
        Sites whose largest dimension is evaluated in the same way, as a baseline without an SAE.
    template
        How a context is written: ``{context}`` and ``{word}`` are filled in. None takes the
        sentence itself and its last occurrence of the word, for models that the paper's wording
        is foreign to; the paper's template where not given.
    batch_size
        Texts per pass.

    Returns
    -------
    SensePairs
        Pairs whose word cannot be found are counted in `dropped`, with the reason.

    Raises
    ------
    InputError
        A pair lacks a field, the template lacks a place, or no pair is left.
    """
    if template is not None and ("{context}" not in template or "{word}" not in template):
        raise InputError(f"the template needs {{context}} and {{word}}, got {template!r}")
    if hasattr(pairs, "to_dict"):  # a DataFrame of such rows
        pairs = pairs.to_dict("records")
    rows = [_pair(pair, number) for number, pair in enumerate(pairs)]
    if not rows:
        raise InputError("no pairs were given")
    texts = [_written(context, row[0], template) for row in rows for context in row[1:3]]
    tokens = session.model.tokens(texts)
    places = [
        _last_occurrence(tokens.strings[number], rows[number // 2][0])
        for number in range(len(texts))
    ]
    kept = [i for i in range(len(rows)) if places[2 * i] >= 0 and places[2 * i + 1] >= 0]
    dropped = Counter({"the word is not in its context": len(rows) - len(kept)})
    if not kept:
        raise InputError(f"none of the {len(rows)} pairs has its word in both contexts")
    chosen = [session.saes[name] for name in (session.saes if saes is None else saes)]
    names = [session.sites.resolve(site).name for site in sites]
    if not chosen and not names:
        raise InputError("nothing to evaluate: no SAEs are attached and no sites are given")
    at = torch.tensor([places[2 * i + side] for i in kept for side in (0, 1)])
    used = torch.tensor([2 * i + side for i in kept for side in (0, 1)])
    strongest = _strongest(session, tokens, used, at, chosen, names, batch_size)
    return SensePairs(
        provenance=session.model.provenance(tokens.policy, saes=[sae.name for sae in chosen]),
        words=tuple(rows[i][0] for i in kept),
        same=np.array([rows[i][3] for i in kept]),
        template=template or "{context}",
        saes=tuple(
            _result(source, kind, site, found) for (source, kind, site), found in strongest.items()
        ),
        dropped={why: count for why, count in dropped.items() if count},
    ).bound_to(session)


def _pair(pair: Any, number: int) -> tuple[str, str, str, bool]:
    def field_of(name: str) -> Any:
        found = pair.get(name) if isinstance(pair, Mapping) else getattr(pair, name, None)
        if found is None or (name != "label" and not isinstance(found, str)):
            raise InputError(f"pair {number} has no {name}; expected word, sentence1, sentence2")
        return found

    word, first, second = (field_of(name) for name in ("word", "sentence1", "sentence2"))
    label = field_of("label")
    if label not in (0, 1, True, False):
        raise InputError(f"pair {number}: label must be 1 (same sense) or 0, got {label!r}")
    return word, first, second, bool(label)


def _written(context: str, word: str, template: str | None) -> str:
    if template is None:
        return context
    return template.replace("{word}", word).replace("{context}", context)


def _last_occurrence(strings: Sequence[str], word: str) -> int:
    """Position of the last token of the last occurrence of a word, −1 where there is none."""
    wanted = word.casefold()
    whole = [at for at, string in enumerate(strings) if string.strip().casefold() == wanted]
    if whole:
        return whole[-1]
    joined, ends = "", []
    for string in strings:
        joined += string
        ends.append(len(joined))
    # Token strings may drop what normalisation drops; the word is looked for in what is there.
    start = joined.casefold().rfind(wanted)
    if start < 0:
        return -1
    last = start + len(wanted)
    return next(position for position, end in enumerate(ends) if end >= last)


def _strongest(
    session: Session,
    tokens: Tokens,
    rows: torch.Tensor,
    at: torch.Tensor,
    saes: Sequence[Sae],
    sites: Sequence[str],
    batch_size: int,
) -> dict[tuple[str, str, str], np.ndarray]:
    """Strongest unit of each SAE and site at one position of each row."""
    found: dict[tuple[str, str, str], list[np.ndarray]] = {}
    read = list(dict.fromkeys([*(site_of(sae) for sae in saes), *sites]))
    for start in range(0, len(rows), batch_size):
        batch, places = rows[start : start + batch_size], at[start : start + batch_size]
        ran = session.model.run(select_rows(tokens, batch), capture=read)
        index = torch.arange(len(batch))
        for sae in saes:
            values = ran[site_of(sae)]
            if sae.architecture == "temporal":
                codes = sae.encode(values)
                flat = index * values.shape[1] + places
                codes = codes.select(flat)
            else:
                codes = sae.encode(values[index, places])
            top = codes.top(1).indices[:, 0].cpu().numpy()
            found.setdefault((sae.name, "features", site_of(sae)), []).append(top)
        for site in sites:
            largest = ran[site][index, places].flatten(1).float().argmax(-1).cpu().numpy()
            found.setdefault((site, "residual", site), []).append(largest)
    return {key: np.concatenate(parts) for key, parts in found.items()}


def _result(source: str, kind: str, site: str, found: np.ndarray) -> SaePolysemy:
    first, second = found[::2], found[1::2]
    # Two contexts on which nothing fires share no feature.
    agrees = (first == second) & (first >= 0)
    return SaePolysemy(
        source=source, site=site, kind=kind, agrees=agrees, first=first, second=second
    )
