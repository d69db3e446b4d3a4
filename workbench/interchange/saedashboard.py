"""SAEDashboard's ``batch-N.json``: one file for many features, one JSON object per file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from workbench.errors import InputError, LoadError
from workbench.features.dashboard import Dashboard
from workbench.features.refs import FeatureRef
from workbench.interchange.contexts import (
    ContextRow,
    bars,
    check_context,
    check_counts,
    context_rows,
    effects,
    groups,
    histogram,
    maximum,
    neurons,
)
from workbench.interchange.files import Limits, batch_files, top_level
from workbench.interchange.reasons import SAEDASHBOARD, explain
from workbench.interchange.records import Imported, Row, SaeFacts, kept, parsed, unstated
from workbench.interchange.writing import Replacements, dumps

__all__ = ["Header", "lost", "read", "write"]

_SUFFIXES = (".json", ".json.gz")
_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says once for all its features.

    Parameters
    ----------
    model_id
        Name of the model.
    layer
        Layer of the SAE.
    sae_set
        Name of the set of SAEs, one per layer.
    sae_id_suffix
        What tells apart SAEs of one set at one layer, None where nothing.
    dataset
        Where the tokens came from.
    tokens_in_prompt
        Tokens in a prompt: counts are written as so many prompts of this length, rounded up.
    """

    model_id: str
    layer: int
    sae_set: str
    sae_id_suffix: str | None = None
    dataset: str = ""
    tokens_in_prompt: int = 1

    def __post_init__(self) -> None:
        if self.tokens_in_prompt < 1:
            raise InputError(f"tokens_in_prompt must be at least 1, got {self.tokens_in_prompt}")

    @classmethod
    def of(cls, dashboard: Dashboard, **changes: Any) -> Header:
        """Read model, layer and SAE from a dashboard.

        Parameters
        ----------
        dashboard
            Its SAE's name (``resid_post.2``) gives set and layer.
        **changes
            Fields to set otherwise.
        """
        found: dict[str, Any] = {"model_id": dashboard.provenance.model}
        if match := re.fullmatch(r"(.+?)\.(\d+)(.*)", dashboard.ref.sae):
            found |= {"sae_set": match[1], "layer": int(match[2])}
            found["sae_id_suffix"] = match[3].lstrip("-_.") or None
        else:
            layer = re.search(r"\.(\d+)$", dashboard.site)
            found |= {"sae_set": dashboard.ref.sae, "layer": int(layer[1]) if layer else 0}
        return cls(**{**found, **changes})


class _Activation(Row):
    tokens: tuple[str, ...]
    values: tuple[float, ...]
    bin_min: float | None = None
    bin_max: float | None = None
    bin_contains: float | None = None
    qualifying_token_index: int | None = None


class _Feature(Row):
    feature_index: int
    neuron_alignment_indices: tuple[int, ...] = ()
    neuron_alignment_values: tuple[float, ...] = ()
    neuron_alignment_l1: tuple[float, ...] = ()
    neg_str: tuple[str, ...] = ()
    neg_values: tuple[float, ...] = ()
    pos_str: tuple[str, ...] = ()
    pos_values: tuple[float, ...] = ()
    frac_nonzero: float = 0.0
    freq_hist_data_bar_values: tuple[float, ...] = ()
    freq_hist_data_bar_heights: tuple[float, ...] = ()
    logits_hist_data_bar_values: tuple[float, ...] = ()
    logits_hist_data_bar_heights: tuple[float, ...] = ()
    n_prompts_total: int = 0
    n_tokens_in_prompt: int = 0
    dataset: str = ""
    activations: tuple[_Activation, ...] = ()


class _Batch(Row):
    model_id: str = ""
    layer: int | str = 0
    sae_set: str = ""
    sae_id_suffix: str | None = None


def read(
    path: str | Path, *, sae: SaeFacts | None = None, limits: Limits | None = None
) -> Iterator[Imported]:
    """Read the features of a batch file, or of a folder of them, one at a time.

    Parameters
    ----------
    path
        ``batch-N.json`` (or gzipped), or the folder they lie in.
    sae
        What the session knows of the SAE; without it features are named ``layer-set/index``.
    limits
        Bounds on sizes.

    Yields
    ------
    Imported

    Raises
    ------
    LoadError
        No such file, damaged, too large, or a feature that does not fit the layout. A file is
        walked once before its first feature is given, so that damage shows at once.
    """
    bounds = limits or Limits()
    where = Path(path).expanduser()
    files = batch_files(where, _SUFFIXES) if where.is_dir() else [where]
    if not files:
        raise LoadError(f"no batch-N.json in {str(where)!r}")
    for file in files:
        yield from _read_file(file, sae, bounds)


def _read_file(path: Path, sae: SaeFacts | None, limits: Limits) -> Iterator[Imported]:
    header: dict[str, Any] = {}
    features = 0
    for name, value in top_level(path, "features", limits):
        if name == "features":
            features += 1
        else:
            header[name] = value
    if not features and "features" not in header and not {"model_id", "sae_set"} & set(header):
        raise LoadError(
            f"{path.name}: not a SAEDashboard batch: it has none of features, model_id, sae_set"
        )
    batch = parsed(_Batch, header, path.name)
    number = 0
    for name, value in top_level(path, "features", limits):
        if name == "features":
            yield _decode(value, batch, header, sae, limits, f"{path.name}, features[{number}]")
            number += 1


def _decode(
    data: Any,
    batch: _Batch,
    header: Mapping[str, Any],
    sae: SaeFacts | None,
    limits: Limits,
    where: str,
) -> Imported:
    row = parsed(_Feature, data, where)
    if row.feature_index < 0:
        raise LoadError(f"{where}: feature_index is {row.feature_index}, expected at least 0")
    if len(row.activations) > limits.contexts:
        raise LoadError(f"{where}: {len(row.activations):,} contexts, at most {limits.contexts:,}")
    check_counts(
        where,
        limits,
        neg_str=row.neg_str,
        pos_str=row.pos_str,
        freq_hist_data_bar_values=row.freq_hist_data_bar_values,
        logits_hist_data_bar_values=row.logits_hist_data_bar_values,
        neuron_alignment_indices=row.neuron_alignment_indices,
    )
    if not 0 <= row.frac_nonzero <= 1:
        raise LoadError(f"{where}: frac_nonzero is {row.frac_nonzero}, expected 0 to 1")
    counted = max(row.n_prompts_total, 0) * max(row.n_tokens_in_prompt, 0)
    fires = round(row.frac_nonzero * counted)
    found = groups(_rows(row.activations, where, limits), counted)
    activity, scaled = histogram(
        row.freq_hist_data_bar_values, row.freq_hist_data_bar_heights, fires, f"{where}: freq_hist"
    )
    logits, logits_scaled = histogram(
        row.logits_hist_data_bar_values,
        row.logits_hist_data_bar_heights,
        0,
        f"{where}: logits_hist",
    )
    suffix = f"__{batch.sae_id_suffix}" if batch.sae_id_suffix else ""
    facts = SaeFacts.named(f"{batch.layer}-{batch.sae_set}{suffix}", sae)
    notes = ["token ids, documents and the mean activation are not stated"]
    if not counted:
        notes.append("the number of tokens counted is not stated")
    if scaled or logits_scaled:
        notes.append("bar heights are not counts; activation bars were scaled to add up to `fires`")
    dashboard = Dashboard(
        provenance=unstated(batch.model_id),
        feature=str(FeatureRef(facts.name, row.feature_index)),
        site=facts.site,
        out_site=facts.out_site,
        d_sae=facts.d_sae,
        architecture=facts.architecture,
        counted_tokens=counted,
        fires=fires,
        maximum=maximum(found),
        mean=float("nan"),
        histogram=activity,
        groups=found,
        raises=effects(row.pos_str, row.pos_values, f"{where}: pos"),
        lowers=effects(row.neg_str, row.neg_values, f"{where}: neg"),
        logit_histogram=logits,
        similar=(),
        neurons=neurons(
            row.neuron_alignment_indices,
            row.neuron_alignment_values,
            row.neuron_alignment_l1,
            f"{where}: neuron_alignment",
        ),
        encoder_decoder_cosine=None,
    )
    return Imported(
        dashboard=dashboard,
        layout="saedashboard",
        record=data,
        batch=header,
        density=row.frac_nonzero,
        notes=tuple(notes),
    )


def _rows(rows: Sequence[_Activation], where: str, limits: Limits) -> Iterator[ContextRow]:
    for number, row in enumerate(rows):
        check_context(row.tokens, row.values, f"{where}, activations[{number}]", limits.tokens)
        yield ContextRow(
            low=row.bin_min,
            high=row.bin_max,
            fraction=row.bin_contains,
            peak=row.qualifying_token_index,
            tokens=tuple(row.tokens),
            values=np.asarray(row.values, dtype=float),
        )


# -- writing -----------------------------------------------------------------------------------


def write(
    features: Iterable[Dashboard | Imported],
    path: str | Path,
    *,
    header: Header | None = None,
    batch_size: int = _BATCH,
    overwrite: bool = False,
) -> list[Path]:
    """Write features as ``batch-N.json`` files into a folder.

    Parameters
    ----------
    features
        Dashboards. Features read from such files are written as they were, with what has changed
        on their dashboards since.
    path
        The folder; made where it does not exist.
    header
        What the files say once; None takes it from the features.
    batch_size
        Most features in a file. A new file also begins where the header changes.
    overwrite
        Whether batch files in the folder may be replaced, all of them together.

    Returns
    -------
    list of Path
        The files. They appear together once all are written.

    Raises
    ------
    InputError
        There are such files already, or a number of a dashboard is NaN.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    folder = Path(path).expanduser()
    with Replacements(folder, "batch-*.json*", overwrite=overwrite) as files, ExitStack() as stack:
        current: tuple[dict[str, Any], IO[str]] | None = None
        count = 0
        for feature in features:
            top, record = _encode_one(feature, header)
            if current is None or count == batch_size or current[0] != top:
                if current is not None:
                    current[1].write("\n]}\n")
                    stack.close()
                target = folder / f"batch-{len(files.written)}.json"
                file = stack.enter_context(files.open(target))
                file.write(dumps(top, own=False)[:-1] + (", " if top else "") + '"features": [\n')
                current, count = (top, file), 0
            line = dumps(record, own=isinstance(feature, Dashboard))
            current[1].write((",\n" if count else "") + line)
            count += 1
        if current is not None:
            current[1].write("\n]}\n")
    return files.written


def _encode_one(
    feature: Dashboard | Imported, header: Header | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    if isinstance(feature, Dashboard):
        chosen = header or Header.of(feature)
        return _top(chosen), _encode(feature, chosen)
    if feature.layout != "saedashboard":
        chosen = header or Header.of(feature.dashboard)
        return _top(chosen), _encode(feature.dashboard, chosen)
    batch = parsed(_Batch, feature.batch, "the batch")
    row = parsed(_Feature, feature.record, "the record")
    before = _decode(feature.record, batch, feature.batch, None, Limits(), "the record").dashboard
    same = Header(
        model_id=batch.model_id,
        layer=0,
        sae_set=batch.sae_set,
        dataset=row.dataset,
        tokens_in_prompt=max(row.n_tokens_in_prompt, 1),
    )
    record = kept(feature.record, _encode(before, same), _encode(feature.dashboard, same))
    return (_top(header) if header else dict(feature.batch)), record


def _top(header: Header) -> dict[str, Any]:
    return {
        "model_id": header.model_id,
        "layer": header.layer,
        "sae_set": header.sae_set,
        "sae_id_suffix": header.sae_id_suffix,
    }


def _encode(dashboard: Dashboard, header: Header) -> dict[str, Any]:
    centres, heights = bars(dashboard.histogram)
    logit_centres, logit_heights = bars(dashboard.logit_histogram)
    return {
        "feature_index": dashboard.ref.index,
        "neuron_alignment_indices": [share.neuron for share in dashboard.neurons],
        "neuron_alignment_values": [float(share.value) for share in dashboard.neurons],
        "neuron_alignment_l1": [float(share.share) for share in dashboard.neurons],
        "correlated_neurons_indices": [],
        "correlated_neurons_l1": [],
        "correlated_neurons_pearson": [],
        "correlated_features_indices": [],
        "correlated_features_l1": [],
        "correlated_features_pearson": [],
        "neg_str": [effect.token for effect in dashboard.lowers],
        "neg_values": [float(effect.value) for effect in dashboard.lowers],
        "pos_str": [effect.token for effect in dashboard.raises],
        "pos_values": [float(effect.value) for effect in dashboard.raises],
        "frac_nonzero": dashboard.density if dashboard.counted_tokens else 0.0,
        "freq_hist_data_bar_values": centres,
        "freq_hist_data_bar_heights": heights,
        "logits_hist_data_bar_heights": logit_heights,
        "logits_hist_data_bar_values": logit_centres,
        "n_prompts_total": -(-dashboard.counted_tokens // header.tokens_in_prompt),
        "n_tokens_in_prompt": header.tokens_in_prompt,
        "dataset": header.dataset,
        "decoder_weights_dist": [],
        "activations": [
            {
                "bin_min": row.low,
                "bin_max": row.high,
                "bin_contains": row.fraction,
                "tokens": list(row.tokens),
                "values": [float(value) for value in row.values],
                "qualifying_token_index": row.peak,
            }
            for row in context_rows(dashboard)
        ],
    }


def lost(dashboard: Dashboard, *, header: Header | None = None) -> list[str]:
    """Say what of a dashboard does not survive being written and read again.

    Found by doing so in memory, so that it is true of this dashboard.

    Returns
    -------
    list of str
        One line for each part that differs: its name and why.

    Raises
    ------
    InputError
        A number of the dashboard is NaN or infinite.
    """
    chosen = header or Header.of(dashboard)
    top, record = _top(chosen), json.loads(dumps(_encode(dashboard, chosen), own=True))
    again = _decode(record, parsed(_Batch, top, "header"), top, None, Limits(), "record")
    return explain(dashboard, again.dashboard, SAEDASHBOARD)
