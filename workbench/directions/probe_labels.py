"""Labels of texts and of tokens, as what a probe learns: positive or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from workbench.errors import InputError, unknown

if TYPE_CHECKING:
    from workbench.directions.activations import TokensUsed
    from workbench.model.tokens import Tokens

__all__ = ["text_labels", "token_labels"]


def text_labels(labels: Sequence[Any], positive: Any = None) -> tuple[str, Bool[np.ndarray, " n"]]:
    """Make labels binary.

    Parameters
    ----------
    labels
        Booleans, numbers or words.
    positive
        The class that counts as positive; may be None where there are two.

    Returns
    -------
    str, ndarray of bool
        The positive class, and where it is.

    Raises
    ------
    InputError
        There is one class only, or more than two and `positive` does not say which, or no label
        is `positive`.
    """
    plain = [_plain(label) for label in labels]
    classes = sorted(set(plain), key=lambda label: (isinstance(label, str), label))
    if len(classes) < 2:
        raise InputError(f"labels need two classes, got {classes}")
    if positive is None:
        if len(classes) > 2:
            shown = ", ".join(map(repr, classes[:8]))
            raise InputError(
                f"labels have {len(classes)} classes ({shown}): say which is positive=..."
            )
        positive = classes[-1]
    wanted = _plain(positive)
    if wanted not in classes:
        raise InputError(unknown("class", str(wanted), [str(each) for each in classes]))
    return str(positive), np.array([label == wanted for label in plain])


def token_labels(
    labels: Sequence[Any], positive: Any, tokens: Tokens, used: TokensUsed
) -> tuple[str, Bool[np.ndarray, " token"]]:
    """Make labels of tokens binary, one after another over all texts.

    Parameters
    ----------
    labels
        A sequence per text, one label for each own token, or for each token of the row.
    positive
        As for `text_labels`.
    tokens
        The texts' tokens.
    used
        Which of them count.

    Raises
    ------
    InputError
        A text has another number of labels than tokens.
    """
    flat: list[Any] = []
    for text, row in enumerate(labels):
        if isinstance(row, str) or not hasattr(row, "__len__"):
            raise InputError(f"text {text}: expected one label per token, got {row!r:.40}")
        own = (~tokens.special[text] & tokens.mask[text])[tokens.mask[text]].numpy()
        given = list(row)
        if len(given) == len(own):
            given = [label for label, mine in zip(given, own, strict=True) if mine]
            last = row[-1]
        elif len(given) == int(own.sum()):
            last = given[-1]
        else:
            raise InputError(
                f"text {text} has {int(own.sum())} tokens of its own ({len(own)} with special "
                f"ones), got {len(given)} labels: {list(tokens.strings[text])[:12]}"
            )
        flat.extend(given if used == "all" else [last])
    return text_labels(flat, positive)


def _plain(label: Any) -> Any:
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, bool):
        return int(label)
    if isinstance(label, float) and label.is_integer():
        return int(label)
    if not isinstance(label, int | str):
        raise InputError(f"a label is a number or a word, got {type(label).__name__}")
    return label
