"""The demo tokenizer: one token per word, a chat template, and text that comes back unchanged.

The vocabulary is the shipped list ``vocabulary.txt`` (one token per line, the line break
escaped), written by :func:`collect_vocabulary`.  Retraining is needed when it changes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.demo.drafting import (
    ASSISTANT,
    BOS,
    EOS,
    GLUE_PATTERN,
    PAD,
    SPECIAL_TOKENS,
    UNK,
    USER,
    WORD_PATTERN,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FILE = Path(__file__).parent / "vocabulary.txt"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}" + USER + " {{ message['content'] }} "
    "{% elif message['role'] == 'assistant' %}" + ASSISTANT + "\n{{ message['content'] }}"
    "{{ eos_token }}"
    "{% else %}{{ raise_exception('the demo model knows the roles user and assistant') }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}" + ASSISTANT + "\n{% endif %}"
)


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """All tokens in the order of their ids, special tokens first."""
    lines = _FILE.read_text(encoding="utf-8").split("\n")
    tokens = [line.replace("\\n", "\n") for line in lines if line]
    return SPECIAL_TOKENS + tuple(tokens)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer from the shipped vocabulary.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        Word-level; puts ``<bos>`` in front once; words outside the vocabulary become ``<unk>``.
        White space only separates words, except that a line break is a token.
    """
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
    )
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(WORD_PATTERN), behavior="removed", invert=True
    )
    # Tokens are joined by single spaces, then the spaces that text does not have are taken out.
    # WordPiece is the decoder that joins by spaces; its prefix is one that no token has.
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="\x00", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(GLUE_PATTERN), ""),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, ids[BOS])],
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def collect_vocabulary(n_documents: int = 60_000) -> tuple[str, ...]:
    """Every word the corpus can say: constants of all templates and lists, and what was drawn.

    Parameters
    ----------
    n_documents : int
        Documents of every kind and split to draw.  They add the capitals of words that begin
        sentences; the lists are read in full, so no rare word is missed.
    """
    from workbench.demo.vocabulary import collect

    return collect(n_documents)


def write_vocabulary() -> int:
    """Write the vocabulary file anew and return the number of words in it."""
    tokens = collect_vocabulary()
    _FILE.write_text(
        "\n".join(token.replace("\n", "\\n") for token in tokens) + "\n", encoding="utf-8"
    )
    vocabulary.cache_clear()
    return len(tokens)
