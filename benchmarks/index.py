"""Cost of a feature index over the bare work it cannot do without.

    python benchmarks/index.py [--tokens 16384] [--repeats 3] [--device cpu] [--memory]
    python benchmarks/index.py --peer ENVIRONMENT [--peer-features 256]
    python benchmarks/index.py --shape gemma --device cuda --tokens 1048576

A model of GPT-2-small shape (random weights) and a TopK SAE of 24,576 features at layer 6 read the
same token rows

* bare: the Hugging Face network cut to that layer, then the SAE's own ``encode``, row by row of the
  same batches, nothing kept;
* as an index: everything `session.index` does, from token rows to the finished folder.

Both run in turn, so that drifts of the machine's speed hit both; each pair gives a ratio of seconds
and one of processor seconds (on a machine with other work to do, only the second is steady); the
medians are the figures. ``--memory`` builds indexes of several sizes in fresh processes and prints
the peak of each over the process with model and SAE loaded. ``--peer`` also runs sae-dashboard on
the same model, SAE and tokens, over fewer features; ENVIRONMENT is a folder where a virtual
environment with it is made if there is none. ``--shape gemma`` is a model of Gemma-2-2B shape with
three SAEs of 16,384 features, in bfloat16.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

BAR = 1.25
GPU_BAR = 0.80
MEMORY_BAR = 1 << 30
LENGTH = 128
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"d": 768, "layers": (6,), "d_sae": 24_576, "k": 32, "dtype": "float32"},
    "gemma": {"d": 2304, "layers": (6, 12, 18), "d_sae": 16_384, "k": 64, "dtype": "bfloat16"},
}


def network(shape: str, device: str) -> Any:
    """Make a network of the shape with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    if shape == "gpt2":
        made = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    else:
        config = transformers.Gemma2Config(
            vocab_size=256_000,
            hidden_size=2304,
            intermediate_size=9216,
            num_hidden_layers=26,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=256,
            query_pre_attn_scalar=256,
        )
        with torch.device(device):
            made = transformers.Gemma2ForCausalLM(config).to(torch.bfloat16)
    return made.eval().to(device)


def sae(shape: str, layer: int) -> Any:
    """Make a TopK SAE with random unit directions, encoder the transpose of the decoder."""
    import torch
    from sae_fixtures import make_module

    about = SHAPES[shape]
    module = make_module(
        "topk",
        d_in=about["d"],
        d_sae=about["d_sae"],
        k=about["k"],
        hook=f"blocks.{layer}.hook_resid_post",
    )
    generator = torch.Generator().manual_seed(layer)
    with torch.no_grad():
        rows = torch.randn(module.W_dec.shape, generator=generator)
        rows /= rows.norm(dim=-1, keepdim=True)
        module.W_dec.copy_(rows)
        module.W_enc.copy_(rows.T)
        module.b_enc.zero_()
        module.b_dec.zero_()
    return module


def open_session(shape: str, device: str) -> Any:
    """Open a session on the network with its SAEs."""
    import checkpoints

    import workbench as wb

    made = network(shape, device)
    saes = {f"resid_post.{layer}": sae(shape, layer) for layer in SHAPES[shape]["layers"]}
    return wb.open(
        made, saes=saes, tokenizer=checkpoints.tokenizer(), sae_dtype=SHAPES[shape]["dtype"]
    )


def token_rows(session: Any, tokens: int) -> Any:
    """Random token rows; none is special."""
    import torch

    generator = torch.Generator().manual_seed(1)
    size = len(session.tokenizer)
    return torch.randint(3, size, (max(tokens // LENGTH, 1), LENGTH), generator=generator)


def cut(made: Any, depth: int) -> Any:
    """Take the network's body with only its first blocks and no final norm, weights shared."""
    import torch

    body = made.transformer if hasattr(made, "transformer") else made.model
    blocks, norm = ("h", "ln_f") if hasattr(body, "h") else ("layers", "norm")
    short = copy.copy(body)
    short._modules = dict(body._modules)
    setattr(short, blocks, torch.nn.ModuleList(getattr(body, blocks)[:depth]))
    setattr(short, norm, torch.nn.Identity())
    return short


def bare(session: Any, rows: Any, batch: int) -> Callable[[], None]:
    """Make the forward pass to the deepest SAE and every SAE's own encode, nothing kept."""
    import contextlib

    import torch

    layers = {int(name.rpartition(".")[2]): one for name, one in session.saes.items()}
    body = cut(session.model.network.plain, max(layers) + 1)
    blocks = body.h if hasattr(body, "h") else body.layers
    device = session.model.device

    def call() -> None:
        seen: dict[int, Any] = {}

        def keep(layer: int) -> Callable[..., None]:
            def hook(_module: Any, _inputs: Any, output: Any) -> None:
                seen[layer] = output[0] if isinstance(output, tuple) else output

            return hook

        with contextlib.ExitStack() as stack, torch.inference_mode():
            for layer in layers:
                handle = blocks[layer].register_forward_hook(keep(layer))
                stack.callback(handle.remove)
            modules = {layer: stack.enter_context(one.loaded()) for layer, one in layers.items()}
            for part in rows.split(max(batch // LENGTH, 1)):
                body(part.to(device), use_cache=False)
                for layer, module in modules.items():
                    module.encode(seen[layer])
        if device.type == "cuda":
            torch.cuda.synchronize()

    return call


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds and processor seconds one call takes."""
    start, busy = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - busy


def build(session: Any, rows: Any, folder: Path, **options: Any) -> Any:
    """Build an index in a fresh folder."""
    shutil.rmtree(folder, ignore_errors=True)
    return session.index(rows, folder, progress=False, **options)


def compare(options: argparse.Namespace, scratch: Path) -> None:
    """Time both in turn and print the ratio."""
    import torch

    from workbench.features.index.batching import find_batch_tokens

    session = open_session(options.shape, options.device)
    rows = token_rows(session, options.tokens)
    tokens = rows.numel()
    n_features = sum(one.d_sae for one in session.saes.values())
    batch = options.batch or find_batch_tokens(session.model, list(session.saes.values()), LENGTH)
    print(
        f"{options.shape} shape, {len(session.saes)} SAE(s), {n_features:,} features, "
        f"{tokens:,} tokens in rows of {LENGTH}, passes of {batch:,} tokens, "
        f"{session.model.dtype}, {options.device}, {torch.get_num_threads()} threads"
    )
    floor = bare(session, rows, batch)

    def ours() -> None:
        build(session, rows, scratch / "index", batch_tokens=batch)

    warm = rows[: max(2 * batch // LENGTH, 2)]
    bare(session, warm, batch)()
    build(session, warm, scratch / "index", batch_tokens=batch)
    pairs = []
    for turn in range(options.repeats):
        order = (ours, floor) if turn % 2 else (floor, ours)
        took = {function: timed(function) for function in order}
        pairs.append((took[ours], took[floor]))
        ratios = [one / other for one, other in zip(took[ours], took[floor], strict=True)]
        print(
            f"  index {took[ours][0]:8.2f} s   bare {took[floor][0]:8.2f} s   "
            f"ratio {ratios[0]:.3f}   of processor seconds {ratios[1]:.3f}"
        )
    ratio, busy = (
        statistics.median(one[kind] / other[kind] for one, other in pairs) for kind in (0, 1)
    )
    best = min(one[0] for one, _ in pairs)
    print(f"features/s {n_features / best:,.0f}   tokens/s {tokens / best:,.0f}   (best run)")
    if options.device == "cpu":
        verdict = "reached" if ratio <= BAR else "NOT REACHED"
        print(f"median ratio {ratio:.3f} (of processor seconds {busy:.3f}), bar {BAR}: {verdict}")
    else:
        share = 1 / ratio
        verdict = "reached" if share >= GPU_BAR else "NOT REACHED"
        print(f"tokens/s {share:.0%} of bare, bar {GPU_BAR:.0%}: {verdict}")


def peak(options: argparse.Namespace, scratch: Path) -> None:
    """In a fresh process: print the peak memory of one build over what was loaded."""
    import psutil

    session = open_session(options.shape, options.device)
    for one in session.saes.values():
        one.load()
    rows = token_rows(session, options.tokens)
    build(session, rows[:2], scratch / "index")  # imports what is imported on first use
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")
    build(session, rows, scratch / "index")
    status = Path("/proc/self/status").read_text()
    highest = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    weights = session.model.nbytes + sum(one.nbytes for one in session.saes.values())
    print(
        json.dumps({"before": before, "peak": int(highest.split()[1]) * 1024, "weights": weights})
    )


def memory(options: argparse.Namespace) -> None:
    """Print the peak memory of builds of several sizes."""
    print("\npeak memory, each build in a fresh process (MiB)")
    print("    tokens   weights   loaded     peak   above loaded")
    for tokens in (options.tokens // 2, options.tokens, options.tokens * 4):
        done = subprocess.run(
            [sys.executable, __file__, "--peak", "--tokens", str(tokens), "--shape", options.shape],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        above = found["peak"] - found["before"]
        mib = [found[name] / 2**20 for name in ("weights", "before", "peak")]
        verdict = "reached" if above <= MEMORY_BAR else "NOT REACHED"
        print(
            f"{tokens:10,} {mib[0]:9,.0f} {mib[1]:8,.0f} {mib[2]:8,.0f} "
            f"{above / 2**20:9,.0f}   bar 1,024: {verdict}"
        )


def peer(options: argparse.Namespace, scratch: Path) -> None:
    """Run sae-dashboard in an environment of its own and print its speed."""
    import numpy as np

    python = options.peer / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", options.peer], check=True)
        # Its other requirements hold NumPy below 2, which newer pyarrow does not load with.
        wanted = ["sae-dashboard", "pyarrow<21"]
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    session = open_session("gpt2", "cpu")
    session.model.network.plain.save_pretrained(scratch / "model")
    session.tokenizer.save_pretrained(scratch / "model")
    sae("gpt2", 6).save_model(scratch / "sae")
    np.save(scratch / "tokens.npy", token_rows(session, options.tokens).numpy())
    session.close()
    peer_script = Path(__file__).with_name("index_peer.py")
    done = subprocess.run(
        [python, "-W", "ignore", peer_script, scratch, str(options.peer_features)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"\nsae-dashboard, the same model, SAE and tokens: {found['features']} features in "
        f"{found['seconds']:.1f} s, {found['features'] / found['seconds']:.2f} features/s, "
        f"peak {found['peak'] / 2**20:,.0f} MiB"
    )


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=list(SHAPES), default="gpt2")
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peer", type=Path, metavar="ENVIRONMENT")
    parser.add_argument("--peer-features", type=int, default=256)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        if options.peak:
            peak(options, Path(scratch))
            return
        if options.repeats:
            compare(options, Path(scratch))
        if options.peer:
            peer(options, Path(scratch))
    if options.memory:
        memory(options)


if __name__ == "__main__":
    main()
