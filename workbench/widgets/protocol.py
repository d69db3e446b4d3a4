"""What travels between a view and Python: payloads, requests, replies.

A payload is JSON data with arrays in it. An array becomes a descriptor ``{"$dtype", "shape"}`` and
its bytes, which travel beside a message (``buffer``), inside a trait (``data``) or as text in an
exported page (``base64``). Replies to a request ``{id, kind, params, channel, policy}`` are

- ``{id, ack: true}`` as soon as a handler has it,
- ``{id, progress: {done, total, note}}`` and ``{id, chunk}`` while it works,
- ``{id, ok: true, data}`` or ``{id, ok: false, error: {type, message}}`` at the end.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from workbench.errors import InputError

__all__ = [
    "Request",
    "describe",
    "embed_json",
    "parse_request",
    "size",
    "to_message",
    "to_page",
    "to_trait",
]

# Lone surrogates cannot be written as UTF-8, which every transport uses.
_SURROGATES = re.compile("[\ud800-\udfff]")
_EXACT_INTEGERS = 2**53
_JSON_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One request of one view on screen.

    Parameters
    ----------
    id
        ``client-number``; the client part is one picture of the view on one page.
    kind
        Which handler is asked.
    params
        Its arguments.
    channel
        Requests of one client and channel replace each other.
    policy
        ``"replace"``: a newer request cancels this one. ``"coalesce"``: the client waits itself.
    """

    id: str
    kind: str
    params: Mapping[str, Any]
    channel: str
    policy: str = "replace"

    @property
    def lane(self) -> str:
        """Client and channel: within one lane only the newest request counts."""
        return f"{self.id.rpartition('-')[0]}:{self.channel}"


def parse_request(content: Any) -> Request | None:
    """Read a message from the front end; None where it is not a request at all.

    Raises
    ------
    InputError
        A request whose fields have the wrong types.
    """
    if not isinstance(content, dict) or not isinstance(content.get("id"), str):
        return None
    kind, params = content.get("kind"), content.get("params", {})
    channel, policy = content.get("channel", kind), content.get("policy", "replace")
    if not isinstance(kind, str) or not isinstance(channel, str) or not isinstance(params, dict):
        raise InputError("a request needs a kind (text), params (mapping) and channel (text)")
    if policy not in ("replace", "coalesce"):
        raise InputError(f"request policy must be 'replace' or 'coalesce', got {policy!r}")
    return Request(id=content["id"], kind=kind, params=params, channel=channel, policy=policy)


def describe(error: BaseException) -> dict[str, str]:
    """Return type and message of an error as the view shows them."""
    return {"type": type(error).__name__, "message": _text(str(error) or repr(error))}


def _text(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)


def _portable(array: np.ndarray) -> np.ndarray:
    """Give an array a type that JavaScript has, without changing any value it cannot hold."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low >= -(2**31) and high < 2**31:
            return array.astype(np.int32)
        if max(-low, high) > _EXACT_INTEGERS:
            raise InputError(f"integers up to {max(-low, high)} do not fit a view's numbers")
        return array.astype(np.float64)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.dtype == np.int8:
        raise InputError(f"arrays of {array.dtype} cannot be sent to a view")
    return array


def _walk(value: Any, pack: Callable[[bytes], dict[str, Any]]) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON has no NaN; views show a dash
    if isinstance(value, np.generic):
        return _walk(value.item(), pack)
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(_portable(value))
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        head = {"$dtype": array.dtype.name, "shape": list(value.shape)}
        return {**head, **pack(array.tobytes())}
    if isinstance(value, Mapping):
        return {_text(str(key)): _walk(item, pack) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, pack) for item in value]
    raise InputError(f"a {type(value).__name__} cannot be sent to a view")


def to_message(payload: Any) -> tuple[Any, list[bytes]]:
    """Encode for a message: JSON data and the buffers beside it."""
    buffers: list[bytes] = []

    def pack(data: bytes) -> dict[str, Any]:
        buffers.append(data)
        return {"buffer": len(buffers) - 1}

    return _walk(payload, pack), buffers


def to_trait(payload: Any) -> Any:
    """Encode for a synchronised trait: bytes stay in place, ipywidgets sends them as buffers."""
    return _walk(payload, lambda data: {"data": data})


def to_page(payload: Any) -> Any:
    """Encode for a page: bytes as base64 text."""
    return _walk(payload, lambda data: {"base64": base64.b64encode(data).decode("ascii")})


def size(encoded: Any) -> int:
    """Return about how many bytes an encoded payload takes on the wire."""
    if isinstance(encoded, bytes | str):
        return len(encoded) + 2
    if isinstance(encoded, dict):
        return sum(len(key) + 4 + size(item) for key, item in encoded.items())
    if isinstance(encoded, list):
        return sum(1 + size(item) for item in encoded)
    return 8


def embed_json(data: Any) -> str:
    r"""Write JSON that is safe inside an HTML ``<script type="application/json">`` element.

    Everything outside ASCII is escaped (U+2028 among it), and so are ``<``, ``>`` and ``&``, so
    that no text in the data can end the element or open another.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda match: _JSON_ESCAPES[match[0]], text)
