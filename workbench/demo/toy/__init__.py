"""A hand-built transformer whose circuits are known exactly: the oracle for circuit mathematics.

``build()`` gives a two-layer Llama-type model of 16 named dimensions that makes a verb agree with
the animal of a sentence and not with the thing beside it, together with a dictionary at every
site. All weights are set by hand (:mod:`.construction` tells the story layer by layer).

What is exactly known, and how:

- Nothing is arranged to be linear. Root-mean-square norms, softmax attention with rotary
  positions, gated MLPs and the three kinds of encoder (ReLU, top-k, jump) are all at work, and the
  truth carries their exact derivatives, written out by hand in float64
  (:mod:`.arithmetic`, :mod:`.dictionaries`). There is no approximation to allow for: a circuit
  finder in float32 should agree to rounding, and 1e-5 is generous.
- :mod:`.truth` turns them into node effects (``attrib``, ``ig`` with either end point, ``exact``)
  and edge weights with the stop-gradient sets of sparse feature circuits, paired or against the
  zero baseline, for three metrics.
- Every weight is exactly representable in float32, so files and truth hold the same numbers.
- No feature is near the point where it wakes up (``Dictionary.margin``), so that rounding cannot
  switch one.
- Every site has an error term that is not zero: its effects and the edges from and to it count.

>>> from workbench.demo import toy
>>> model = toy.build()
>>> truth = model.truth(model.pairs[2], method="ig")
>>> truth.edges["attn_out.0", "resid_post.0"].shape    # (position, node, position, node)
(7, 5, 7, 15)
"""

from __future__ import annotations

from workbench.demo.toy.build import Edge, Pair, SavedToy, ToyModel, build
from workbench.demo.toy.dictionaries import Dictionary
from workbench.demo.toy.truth import Split, Truth

__all__ = ["Dictionary", "Edge", "Pair", "SavedToy", "Split", "ToyModel", "Truth", "build"]
