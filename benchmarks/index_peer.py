"""sae-dashboard on a given model, SAE and tokens: the peer of ``index.py --peer``.

    ENVIRONMENT/bin/python benchmarks/index_peer.py FOLDER FEATURES

Runs in an environment of its own with ``sae-dashboard`` installed; reads what ``index.py`` wrote to
FOLDER, makes the dashboards of the first FEATURES features with the tool's default settings, and
prints seconds and peak memory as one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def open_model(folder: Path) -> Any:
    """Load the stored GPT-2 into the kind of model the tool takes."""
    import torch
    import transformers
    from sae_lens import HookedSAETransformer
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    network = transformers.GPT2LMHeadModel.from_pretrained(folder / "model")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "model" / "tokenizer.json"),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )
    # Stored by another transformers than this one; the tool reads it again from its folder.
    tokenizer.save_pretrained(folder / "tokenizer")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")
    shape = network.config
    config = HookedTransformerConfig(
        n_layers=shape.n_layer,
        d_model=shape.n_embd,
        n_ctx=shape.n_positions,
        d_head=shape.n_embd // shape.n_head,
        n_heads=shape.n_head,
        d_mlp=4 * shape.n_embd,
        d_vocab=shape.vocab_size,
        act_fn="gelu_new",
        normalization_type="LN",
        device="cpu",
    )
    model = HookedSAETransformer(config, tokenizer=tokenizer)
    with torch.no_grad():
        model.load_state_dict(convert_gpt2_weights(network, config), strict=False)
    return model.eval()


def main() -> None:
    """Run the tool once."""
    folder, n_features = Path(sys.argv[1]), int(sys.argv[2])
    import numpy as np
    import torch
    from sae_dashboard.sae_vis_data import SaeVisConfig
    from sae_dashboard.sae_vis_runner import SaeVisRunner
    from sae_lens import SAE

    model = open_model(folder)
    sae = SAE.load_from_disk(folder / "sae", device="cpu")
    # The decoder's rows have norm one already, and SAELens refuses to fold them for TopK.
    sae.fold_W_dec_norm = lambda: None
    tokens = torch.from_numpy(np.load(folder / "tokens.npy"))
    config = SaeVisConfig(
        hook_point=sae.cfg.metadata.hook_name, features=list(range(n_features)), device="cpu"
    )
    start = time.perf_counter()
    SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "features": n_features, "peak": peak}))


if __name__ == "__main__":
    main()
