"""The supervised upper bound: how near a feature comes to the log-odds of a concept.

A linear probe trained on pairs that differ in one binary concept has the concept's log-posterior as
its logit, up to its own error. An SAE is scored by the Pearson correlation of its best feature with
that logit ("I Predict Therefore I Am", arXiv:2503.08980, from a secondary description). Feature and
probe are chosen on training pairs, correlations are measured on held-out pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from workbench.directions.activations import Pooling, TokensUsed, capture, pool_codes, pool_dense
from workbench.directions.detection import auroc
from workbench.directions.probe_fit import fit_probe, split_rows
from workbench.errors import InputError
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model.tokens import TokenPolicy
    from workbench.session import Session

__all__ = ["FeatureAgreement", "UpperBound", "correlations", "upper_bound"]


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureAgreement:
    """The feature of one SAE that follows the probe's logit most closely.

    Parameters
    ----------
    sae, site
        The SAE, and the site it reads: the probe's own.
    feature
        The feature.
    correlation, train_correlation
        Pearson correlation with the logit on held-out and on training texts; a negative one means
        that the feature fires where the concept is absent.
    auroc, probe_auroc
        AUROC of the feature (turned by the sign of its training correlation) and of the probe on
        held-out texts.
    """

    sae: str
    site: str
    feature: str
    correlation: float
    train_correlation: float
    auroc: float
    probe_auroc: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class UpperBound(Result):
    """How near the features of SAEs come to a supervised probe.

    Parameters
    ----------
    name
        The concept.
    n_train, n_test
        Texts.
    saes
        The best feature of each SAE.
    """

    name: str
    n_train: int
    n_test: int
    saes: tuple[FeatureAgreement, ...] = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per SAE, closest first (by absolute held-out correlation)."""
        import dataclasses

        import pandas as pd

        table = pd.DataFrame([dataclasses.asdict(found) for found in self.saes])
        order = table["correlation"].abs().sort_values(ascending=False, kind="stable").index
        return table.loc[order].reset_index(drop=True)

    def features(self) -> FeatureSet:
        """Return the best feature of each SAE, closest first."""
        return FeatureSet(tuple(FeatureRef.parse(ref) for ref in self.to_pandas()["feature"]))

    def summary(self) -> str:
        """Return one line: the closest feature."""
        best = self.to_pandas().iloc[0]
        return (
            f"Upper bound for {self.name!r}: closest {best['feature']}, correlation "
            f"{best['correlation']:.3f} with the probe's logit (AUROC {best['auroc']:.3f} against "
            f"{best['probe_auroc']:.3f})"
        )


def correlations(
    codes: sparse.csr_matrix, target: Float[np.ndarray, " row"]
) -> Float[np.ndarray, " feature"]:
    """Return each feature's Pearson correlation with a target; 0 for features that never change."""
    n = len(target)
    centred = np.asarray(target, dtype=np.float64) - np.mean(target)
    wide = codes.astype(np.float64)
    mean = np.asarray(wide.mean(0)).ravel()
    square = np.asarray(wide.multiply(wide).mean(0)).ravel()
    variance = square - mean**2
    # Rounding leaves a constant column a variance of dust, of either sign.
    spread = np.sqrt(np.where(variance > 1e-12 * square, variance, 0.0))
    covariance = np.asarray(wide.T @ centred).ravel() / n
    below = spread * centred.std()
    return np.divide(covariance, below, out=np.zeros_like(below), where=below > 0)


def upper_bound(
    session: Session,
    positives: Sequence[Any],
    negatives: Sequence[Any],
    *,
    name: str = "concept",
    paired: bool = True,
    saes: Sequence[str] | None = None,
    pooling: Pooling = "last",
    tokens: TokensUsed = "last",
    held_out: float = 0.3,
    seed: int = 0,
    policy: TokenPolicy | None = None,
) -> UpperBound:
    """Correlate the features of each SAE with the logit of a probe at the SAE's own site.

    Parameters
    ----------
    session
        The session.
    positives, negatives
        Texts with and without the concept; with `paired` text i of one is the counterfactual of
        text i of the other, and both are held out together.
    name
        What to call the concept.
    paired
        Whether they are pairs.
    saes
        SAEs to score; all attached where None.
    pooling, tokens
        Which tokens are read; each text's last by default, where a counterfactual pair is decided.
    held_out
        Share of pairs (or texts) held out.
    seed
        Seed of the split.
    policy
        Token policy; the session's own where None.

    Returns
    -------
    UpperBound

    Raises
    ------
    InputError
        Pairs are of unequal number, or no SAE is attached.
    """
    if paired and len(positives) != len(negatives):
        raise InputError(
            f"pairs need as many positives as negatives, got {len(positives)} and "
            f"{len(negatives)}; or pass paired=False"
        )
    names = [session.saes[each].name for each in (session.saes if saes is None else saes)]
    if not names:
        raise InputError("no SAEs are attached; attach some")
    sites = {each: str(session.saes[each].site) for each in names}
    acts = capture(
        session,
        [*positives, *negatives],
        sites=list(dict.fromkeys(sites.values())),
        saes=names,
        used=tokens,
        policy=policy,
    )
    truth = np.repeat([True, False], [len(positives), len(negatives)])
    number = np.concatenate([np.arange(len(positives)), np.arange(len(negatives))])
    groups = number if paired else np.arange(len(truth))
    test = split_rows(truth, groups, fraction=held_out, seed=seed)
    logits = {}
    for site in dict.fromkeys(sites.values()):
        columns = pool_dense(acts.acts[site].numpy(), acts.starts, pooling).astype(np.float64)
        fitted = fit_probe(columns[~test], truth[~test], search=True, seed=seed)
        logits[site] = fitted.scores(columns)
    found = []
    for each in names:
        codes, logit = pool_codes(acts.codes[each], acts.starts, pooling), logits[sites[each]]
        train = correlations(codes[~test], logit[~test])
        best = int(np.abs(train).argmax())
        column = codes[:, [best]]
        scores = column.toarray()[:, 0] * (1 if train[best] >= 0 else -1)
        found.append(
            FeatureAgreement(
                sae=each,
                site=sites[each],
                feature=str(FeatureRef(each, best)),
                correlation=float(correlations(column[test], logit[test])[0]),
                train_correlation=float(train[best]),
                auroc=auroc(scores[test], truth[test]),
                probe_auroc=auroc(logit[test], truth[test]),
            )
        )
    return UpperBound(
        provenance=session.model.provenance(acts.tokens.policy, saes=names, seed=seed),
        name=name,
        n_train=int((~test).sum()),
        n_test=int(test.sum()),
        saes=tuple(found),
    ).bound_to(session)
