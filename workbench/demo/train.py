"""Rebuild the demo world's weights: ``python -m workbench.demo.train --out DIRECTORY``.

Three stages, each reading what the one before wrote, so that any can be repeated alone:

``model``
    generates the corpus and trains the language model (``DIRECTORY/model``);
``saes``
    trains every SAE on the model's activations (``DIRECTORY/saes/<name>``);
``report``
    measures model and SAEs against the bars and writes each SAE's ``labels.json``.

Everything is seeded. On a large GPU the whole takes minutes; on a CPU, hours. ``--quick`` goes
through all stages with a tiny model in about a minute, to try the machinery.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.demo.training.settings import (
    SaePlan,
    SaeSettings,
    TrainSettings,
    full_settings,
    quick_settings,
    sae_plans,
)
from workbench.errors import InputError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

__all__ = ["load_model", "main", "train_model_stage", "train_saes_stage"]

STAGES = ("model", "saes", "report")
_SAE_ROWS_TOKENS = 24_000_000
_DENSITY_TOKENS = 500_000


def _log(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def load_model(directory: Path, device: str) -> LlamaForCausalLM:
    """Load the stored demo model as float32 in evaluation mode."""
    import torch
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="sdpa"
    )
    return model.to(device).eval()


def train_model_stage(settings: TrainSettings, out: Path, *, device: str) -> None:
    """Generate the corpus, train the language model, and store both in `out`.

    Parameters
    ----------
    settings
        Sizes, steps and seeds.
    out
        Gets ``model/`` and ``rows.npy`` (corpus rows for the SAEs).
    device
        ``cuda`` or ``cpu``.
    """
    from workbench.demo.tokenizer import build_tokenizer
    from workbench.demo.training.feed import CorpusFeed
    from workbench.demo.training.language_model import save_model, train_language_model

    out.mkdir(parents=True, exist_ok=True)
    (out / "rows.npy").unlink(missing_ok=True)
    tokenizer = build_tokenizer()
    with CorpusFeed(settings.corpus, device) as feed:
        batches = feed.batches(settings.model.batch_rows, seed=settings.model.seed)
        model = train_language_model(settings.model, tokenizer, batches, device=device, log=_log)
        feed.save(out / "rows.npy", n_tokens=_SAE_ROWS_TOKENS)
    save_model(model, tokenizer, out / "model")
    size = sum(parameter.numel() for parameter in model.parameters())
    _log(f"model of {size:,} parameters stored in {out / 'model'}")


def _train_group(out: Path, plans: Sequence[SaePlan], settings: SaeSettings, device: str) -> None:
    import torch

    from workbench.demo.tokenizer import build_tokenizer
    from workbench.demo.training.saes import density, prune_sae, save_sae, train_saes

    if device != "cpu":
        # Several processes share the machine; each needs one core to feed the device.
        torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = True
    model = load_model(out / "model", device)
    rows = np.load(out / "rows.npy", mmap_mode="r")
    trained = train_saes(model, rows, plans, settings, log=_log)
    for plan in plans:
        save_sae(trained[plan.name], plan, out / "saes" / plan.name)
    # The last rows were read least often in training.
    tail = rows[-max(1, _DENSITY_TOKENS // rows.shape[1]) :]
    torch.backends.cuda.matmul.allow_tf32 = False
    directories = [out / "saes" / plan.name for plan in plans]
    density(model, tail, directories, special=build_tokenizer().all_special_ids)
    for plan in plans:
        # The control shows what a bad SAE looks like, dead features included.
        if not plan.control:
            removed = prune_sae(out / "saes" / plan.name, least=settings.least_density)
            _log(f"{plan.name}: {removed} of {plan.features} features removed")


def train_saes_stage(
    settings: TrainSettings, out: Path, *, device: str, only: Sequence[str] = ()
) -> None:
    """Train the SAEs of the model stored in `out`.

    Parameters
    ----------
    settings
        The SAEs' sizes, steps and seeds, and among how many processes they are shared out.
    out
        Holds ``model/``; gets ``saes/<name>/``, and ``rows.npy`` where the model stage did not
        leave it.
    device
        ``cuda`` or ``cpu``.
    only
        Names of the SAEs to train; all where empty.

    Raises
    ------
    InputError
        When `only` names an SAE the plan does not have.
    RuntimeError
        When a training process fails.
    """
    plans = sae_plans(settings)
    missing = set(only) - {plan.name for plan in plans}
    if missing:
        msg = f"no such SAE in the plan: {sorted(missing)}; there are {[p.name for p in plans]}"
        raise InputError(msg)
    plans = tuple(plan for plan in plans if not only or plan.name in only)
    if not (out / "rows.npy").is_file():
        from workbench.demo.training.feed import CorpusFeed

        pieces = -(-_SAE_ROWS_TOKENS // settings.corpus.chunk_tokens)
        corpus = dataclasses.replace(settings.corpus, chunks=min(settings.corpus.chunks, pieces))
        with CorpusFeed(corpus, "cpu") as feed:
            feed.save(out / "rows.npy", n_tokens=_SAE_ROWS_TOKENS)
    if settings.sae.processes <= 1:
        _train_group(out, plans, settings.sae, device)
        return
    count = min(settings.sae.processes, len(plans))
    context = multiprocessing.get_context("spawn")
    # Neighbours share a process: the model is then run only as deep as they need.
    ordered = sorted(plans, key=lambda plan: plan.target.partition(".")[2] or "-")
    bounds = [round(i * len(plans) / count) for i in range(count + 1)]
    workers = [
        context.Process(target=_train_group, args=(out, ordered[a:b], settings.sae, device))
        for a, b in itertools.pairwise(bounds)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    failed = [worker.exitcode for worker in workers if worker.exitcode]
    if failed:
        msg = f"{len(failed)} of {count} SAE training processes failed, exit codes {failed}"
        raise RuntimeError(msg)


def _settings(arguments: argparse.Namespace) -> TrainSettings:
    make = quick_settings if arguments.quick else full_settings
    settings = make(seed=arguments.seed)
    model, sae, corpus = settings.model, settings.sae, settings.corpus
    if arguments.model_steps:
        model = dataclasses.replace(model, steps=arguments.model_steps)
    if arguments.sae_steps:
        sae = dataclasses.replace(sae, steps=arguments.sae_steps)
    if arguments.chunks:
        corpus = dataclasses.replace(corpus, chunks=arguments.chunks)
    if arguments.processes is not None:
        sae = dataclasses.replace(sae, processes=arguments.processes)
        corpus = dataclasses.replace(corpus, workers=arguments.processes)
    if arguments.sae_architecture:
        sae = dataclasses.replace(sae, architecture=arguments.sae_architecture)
    if arguments.features:
        sae = dataclasses.replace(sae, features=arguments.features, sizes={})
    if arguments.active:
        sae = dataclasses.replace(sae, active=arguments.active, sizes={})
    return TrainSettings(corpus=corpus, model=model, sae=sae)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.demo.train", description="Rebuild the demo world's weights."
    )
    parser.add_argument("--out", type=Path, required=True, help="directory for the assets")
    parser.add_argument("--stage", choices=STAGES, action="append", help="default: all stages")
    parser.add_argument("--quick", action="store_true", help="tiny model, to try the machinery")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cuda where there is one"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model-steps", type=int)
    parser.add_argument("--sae-steps", type=int)
    parser.add_argument("--chunks", type=int, help="pieces of corpus to generate")
    parser.add_argument("--processes", type=int, help="processes for text and for SAEs")
    parser.add_argument("--sae-architecture", choices=("topk", "batchtopk", "matryoshka"))
    parser.add_argument("--features", type=int, help="dictionary size of every SAE")
    parser.add_argument("--active", type=int, help="features active per token in every SAE")
    parser.add_argument("--only", nargs="*", default=(), help="names of the SAEs to train")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages asked for.

    Parameters
    ----------
    argv
        Command line arguments; those of the process where None.

    Returns
    -------
    int
        Exit status: 0 when every stage ran to its end. Bars that are not reached do not fail it.
    """
    arguments = _parser().parse_args(argv)
    settings = _settings(arguments)
    if arguments.device is None:
        import torch

        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    stages = arguments.stage or STAGES
    started = time.perf_counter()
    for stage in STAGES:
        if stage not in stages:
            continue
        if stage == "model":
            train_model_stage(settings, arguments.out, device=arguments.device)
        elif stage == "saes":
            train_saes_stage(settings, arguments.out, device=arguments.device, only=arguments.only)
        else:
            from workbench.demo import report

            report.main(["--assets", str(arguments.out), "--device", arguments.device, "--labels"])
        _log(f"stage {stage} done after {time.perf_counter() - started:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
