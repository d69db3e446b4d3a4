"""A transcoder trained by SAELens's own batch top-k trainer.

SAELens 6 loads and runs transcoders but trains only autoencoders. The training class here is its
batch top-k autoencoder with one change: the target of the reconstruction is another activation
than the input, carried to the training step side by side with it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sae_lens.saes.sae import TrainStepInput, TrainStepOutput

__all__ = ["transcoder_training_class"]


@functools.cache
def transcoder_training_class() -> type[Any]:
    """Return the training class; it is made on first use because SAELens loads slowly.

    Returns
    -------
    type
        A ``BatchTopKTrainingSAE`` whose batches are the input and the target concatenated along
        the last axis, ``[x, y]`` of shape (batch, 2 * d_in), and whose loss is that of
        ``y ~ decode(encode(x))``. Input and target have the same width here.
    """
    from sae_lens import BatchTopKTrainingSAE
    from sae_lens.saes.sae import TrainStepOutput

    class BatchTopKTrainingTranscoder(BatchTopKTrainingSAE):
        def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
            source, target = step_input.sae_in.split(self.cfg.d_in, dim=-1)
            acts, hidden_pre = self.encode_with_hidden_pre(source)
            output = self.decode(acts)
            mse = (output - target).pow(2).sum(-1).mean()
            # The auxiliary loss lets dead features explain what is left of the target.
            auxiliary = self.calculate_aux_loss(
                step_input=dataclasses.replace(step_input, sae_in=target),
                feature_acts=acts,
                hidden_pre=hidden_pre,
                sae_out=output,
            )
            self.update_topk_threshold(acts)
            losses: dict[str, torch.Tensor] = {"mse_loss": mse, **auxiliary}
            return TrainStepOutput(
                sae_in=target,
                sae_out=output,
                feature_acts=acts,
                hidden_pre=hidden_pre,
                loss=torch.stack(list(losses.values())).sum(),
                losses=losses,
            )

    return BatchTopKTrainingTranscoder
