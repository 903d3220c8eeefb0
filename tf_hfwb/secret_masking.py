"""Masking of secrets in everything that is written, logged, uploaded or printed.

A secret is known by its name (``hub_token``, ``apiKey``, ``DB_PASSWORD``), at any depth, or by its form
(``https://user:password@host``, ``hf_...``, keys of W&B and of clouds), also in the middle of a text such as a command
line. A secret with neither, such as the password in ``{"note": "hunter2"}``, cannot be recognised.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import json
import logging
import numbers
import pathlib
import re
import traceback
from collections.abc import Mapping
from typing import Any

# Names are compared as words joined by "_": hubToken, HUB-TOKEN and hub_token are one.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|_)(?:{pattern})(?:_|$)")


# The value of such a name is a secret, also if it is a number.
_ALWAYS = _words(
    r"\w*password|passwords|passwd|pwd|passphrase|passcode|secrets?|\w+secret|credentials?|creds"
    r"|(?:api|access|private|secret|signing|encryption|ssh|shared|account|master|client|service|subscription|license"
    r"|wandb|auth)_?keys?|access_id"
)
# The value of such a name is a secret if it is a word: session=5 counts something, and auth=True is a switch.
_IF_WORDS = _words(
    r"o?auth|oauth_?2|authorization|authentication|bearer|(?:set_)?cookies?|jwt|csrf|xsrf|webhook|pass(?=$)"
    r"|session(?=$|_(?:id|key|token|cookie))|sessionid"
    r"|(?:access|api|auth|bearer|git|github|hf|hub|id|refresh|session|user|wandb)?token(?=(?:_\d+)?$)"
    r"|(?:access|api|auth|bearer|hf|hub|refresh|session)_?tokens"
)
# Pieces of the vocabulary that tokenizers and model configs call tokens; they are not secrets.
_VOCABULARY = re.compile(
    r"(?:^|_)(?:bos|eos|pad|unk|sep|cls|mask|start|end|image|audio|video|vision|boi|eoi|eot|eod|prefix|suffix|middle"
    r"|special|newline|placeholder|per|next|last|first|max|num)_token(?:_\d+)?$"
)
_BRACKETED = re.compile(r"<[^<>]*>|\[[^\[\]]*\]")  # Such as <s> and [PAD]; and values that are masked already.
# Names of secrets in the query of a signed URL.
_IN_QUERIES = _words(r"sig|signature|policy|key_pair_id")
# Names of values that look like a key of W&B and are not one.
_DIGESTS = _words(r"(?:fingerprint|revision|rev|commit|sha|hash|digest|checksum|etag|version|md_5|uuid|id)s?")

_FORM = re.compile(
    r"""
      -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    | (?<![A-Za-z0-9])(?:
        hf_[A-Za-z0-9]{20,}                                 # Hugging Face
      | wandb_v\d+_[\w-]{20,}                               # W&B
      | local-[0-9a-f]{40}
      | (?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}                 # AWS
      | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_\w{20,} | glpat-[\w-]{20,}
      | AIza[\w-]{35} | ya29\.[\w.-]+ | GOCSPX-[\w-]{20,}   # Google
      | sk-[\w-]{0,40}?[A-Za-z0-9_]{16}[\w-]*               # OpenAI, Anthropic
      | [rs]k_(?:live|test)_\w{10,}                         # Stripe
      | xox[a-z]-[\w-]{10,} | xapp-[\w-]{10,}               # Slack
      | npm_[A-Za-z0-9]{30,} | pypi-[\w-]{40,} | r8_\w{30,} | gsk_\w{30,} | nvapi-[\w-]{30,}
      | eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?                   # JSON web tokens
    )
    | (?<=hooks\.slack\.com/services/)[\w/]+
    """,
    re.VERBOSE | re.DOTALL,
)
_KEY = re.compile(r"(?<![\w/@.+-])[0-9a-f]{40}(?!\w)")  # A key of W&B; after "/" or "@" it is the hash of a commit.
_BEFORE_DIGEST = re.compile(
    r"(?i)(?:fingerprint|revision|rev|commit|checkout|sha-?\d*|hash|digest|checksum|etag|version|tree|object|id)s?"
    r"[\"']?[\s:=]*[\"'(\[]?$"
)
# The repetitions have bounds, so that a text of many URLs is searched in linear time.
_USER = re.compile(
    r"(?i)(?<![a-z0-9+.-])(?P<scheme>[a-z][a-z0-9+.-]{1,20}://)(?:"
    r"[^\s/?#\"'<>@:]{0,200}:(?!\d+(?:[/?#]|$))[^\s\"'<>@]{0,200}(?:@[^\s/?#\"'<>@]{0,200}){0,3}"
    r"|(?:(?<=http://)|(?<=https://))[^\s/?#\"'<>]{1,200})@"
)
_SCHEME = re.compile(
    r"(?i)\b(?P<kind>bearer|basic)(?P<space>\s+)(?P<value>(?=\S*\d)[\w.~+/-]{8,}=*|[\w.~+/-]{20,}=*|[A-Za-z0-9+/]{6,}=+)"
)
_HEADER = re.compile(
    r"(?im)(?<![\w-])(?P<name>(?:proxy-)?authorization|(?:set-)?cookie|(?:x-)?[\w-]{0,40}-(?:key|token|secret))"
    r"(?P<between>:\s*)(?P<value>[^\r\n]+)"
)
_VALUE = r"""(?P<value>"[^"\r\n]*"|'[^'\r\n]*'|[^\s&;,)\]}"']+)"""
_PAIR = re.compile(rf"(?<![\w.-])(?P<name>-{{0,2}}[A-Za-z_][\w.-]{{0,80}})(?P<between>=|[\"']\s*[:=]\s*){_VALUE}")
_OPTION = re.compile(rf"(?<![\w.-])(?P<name>--?[A-Za-z][\w-]{{0,80}})(?P<between>\s+)(?!-){_VALUE}")
_OF_ARRAYS = {"numpy", "tensorflow.python.framework.ops", "jaxlib._jax"}  # Their texts are long and are numbers.
_PLAIN = {"none", "null", "true", "false", ""}

_SECRET = "<SECRET>"


def mask(value: Any, name: str = "") -> Any:
    """``value`` with every secret replaced by its name in angle brackets, as transformers masks its tokens.

    Args:
        value: Anything. Containers and dataclasses come back as dicts, lists and sets; a value without a secret comes
            back as it is.
        name: Its name.

    Example:
        >>> mask({"hub_token": "hf_abc", "pad_token": "[PAD]", "learning_rate": 5e-5})
        {'hub_token': '<HUB_TOKEN>', 'pad_token': '[PAD]', 'learning_rate': 5e-05}
        >>> mask(["--data", "https://me:word@host/a.csv", "--hub_token", "abc"])
        ['--data', 'https://<SECRET>@host/a.csv', '--hub_token', '<HUB_TOKEN>']
    """
    return _mask(value, name, "")


def _mask(value: Any, name: str, secret: str) -> Any:
    """Mask a value; ``secret`` is the name that makes everything in it a secret, if there is one."""
    secret = secret or (name if _is_secret_name(name) else "")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        # The names of a model's classes are not secrets: it may be one that finds passwords in texts.
        return value if name == "label2id" else _mask_items(value, secret)
    if isinstance(value, (list, tuple)):
        return _mask_list(value, name, secret)
    if isinstance(value, (set, frozenset)):
        return type(value)(_mask(item, name, secret) for item in value)
    if isinstance(value, numbers.Number) and not isinstance(value, enum.Enum):
        is_long = isinstance(value, int) and abs(value) >= 1000  # Fewer digits count something.
        return _label(secret) if is_long and secret and _ALWAYS.search(_flat(secret)) else value
    if value is None or callable(value) or (not isinstance(value, str) and type(value).__module__ in _OF_ARRAYS):
        return value
    text = _text(value)
    if secret and _is_secret_value(secret, text):
        return _label(secret)
    if _DIGESTS.search(_flat(name)) and _KEY.fullmatch(text):
        return value
    without = mask_text(text)
    if without == text:
        return value
    return _label(name) if without == _SECRET and name else without


def _mask_items(value: Mapping[Any, Any], secret: str) -> dict[Any, Any]:
    items: dict[Any, Any] = {}
    for key, item in value.items():
        shown = mask_text(key) if isinstance(key, str) else key
        while shown != key and shown in items:  # Two keys that are secrets.
            shown += "'"
        items[shown] = _mask(item, str(shown).strip("<>'"), secret)
    return items


def _mask_list(value: list[Any] | tuple[Any, ...], name: str, secret: str) -> list[Any]:
    items: list[Any] = []
    option = ""
    for item in value:
        if option and isinstance(item, str) and not item.startswith("-"):
            items.append(_mask(item, option, secret))
        else:
            items.append(_mask(item, name, secret))
        is_option = isinstance(item, str) and re.fullmatch(r"--?[A-Za-z][\w-]*", item)
        option = item.lstrip("-") if is_option and _is_secret_name(item) else ""
    return items


def _text(value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _label(name: str) -> str:
    return f"<{name.upper()}>"


def _flat(name: str) -> str:
    return "_".join(_WORDS.findall(name)).lower()


def _is_secret_name(name: str) -> bool:
    flat = _flat(name)
    return bool(_ALWAYS.search(flat) or (_IF_WORDS.search(flat) and not _VOCABULARY.search(flat)))


def _is_secret_value(name: str, text: str) -> bool:
    if text.lower() in _PLAIN:
        return False
    return bool(_ALWAYS.search(_flat(name))) or not (text.isdigit() or _BRACKETED.fullmatch(text))


def mask_text(text: str) -> str:
    """``text`` with every secret in it replaced.

    Example:
        >>> mask_text("GET https://host/file?X-Amz-Signature=0a1b&part=2 failed")
        'GET https://host/file?X-Amz-Signature=<X-AMZ-SIGNATURE>&part=2 failed'
    """
    text = _USER.sub(rf"\g<scheme>{_SECRET}@", text)
    text = _FORM.sub(_SECRET, text)
    for pattern in (_PAIR, _OPTION, _HEADER):
        text = pattern.sub(_mask_pair, text)
    text = _SCHEME.sub(_mask_scheme, text)
    return _KEY.sub(_mask_key, text)


def _mask_pair(match: re.Match[str]) -> str:
    name, between, value = match["name"].lstrip("-"), match["between"], match["value"]
    quote = value[0] if value[0] in "\"'" else ""
    inner = value.strip(quote) if quote else value
    is_in_query = match.string[: match.start()].endswith(("?", "&", ";"))
    is_secret = _is_secret_name(name) or (is_in_query and bool(_IN_QUERIES.search(_flat(name))))
    if not is_secret or not _is_secret_value(name, inner):
        return match[0]
    return f"{match['name']}{between}{quote}{_label(name)}{quote}"


def _mask_scheme(match: re.Match[str]) -> str:
    if match["kind"].lower() == "basic":
        try:
            is_secret = b":" in base64.b64decode(match["value"], validate=True)
        except (binascii.Error, ValueError):
            is_secret = False
        if not is_secret:
            return match[0]
    return f"{match['kind']}{match['space']}{_SECRET}"


def _mask_key(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 40) : match.start()]
    return match[0] if _BEFORE_DIGEST.search(before) else _SECRET


def mask_json(path: pathlib.Path) -> None:
    """Mask the secrets in a JSON file that a library has written; a file without any is left as it is."""
    value = json.loads(path.read_bytes())
    without = mask(value)
    if without != value:
        path.write_text(json.dumps(without, indent=2, sort_keys=True) + "\n")


def cause(error: BaseException) -> BaseException | None:
    """For ``raise ... from``: the error, unless its traceback would print a secret, such as the URL of a request."""
    printed = "".join(traceback.format_exception(error))
    return error if mask_text(printed) == printed else None


class SecretFilter(logging.Filter):
    """Masks the messages of a logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record's message; every record passes."""
        message = record.getMessage()
        without = mask_text(message)
        if without != message:
            record.msg, record.args = without, ()
        return True
