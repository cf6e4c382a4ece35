"""A pass's options: the fields of its dataclass, read from and written as pipeline text.

`max_group: int = 8` is spelled `max-group=8`. Types are int, float, bool, str, a Literal of these, or one of them
`| None` (spelled `none`). A field of another type is no option; only Python code can set it.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlirfuse.lowering.passes.registry import Pass, PipelineError

__all__ = ["Option", "build_pass", "options_of", "pass_text"]

_SCALARS = (bool, int, float, str)
_BOOLEANS = {"true": True, "1": True, "": True, "false": False, "0": False}
_QUOTES = {"'": "'", '"': '"', "{": "}"}


@dataclass(frozen=True)
class Option:
    """One option: its spelling, the values it takes, and its default."""

    name: str
    field: str
    type: type
    optional: bool
    choices: tuple[Any, ...]
    default: Any

    @property
    def values(self) -> str:
        """What may be written, for people."""
        kinds = "|".join(map(str, self.choices)) or self.type.__name__
        return f"{kinds}|none" if self.optional else kinds

    def read(self, text: str) -> Any:
        """The value that `text` spells; ValueError where it spells none."""
        if self.optional and text == "none":
            return None
        if self.type is bool:
            if text.lower() not in _BOOLEANS:
                raise ValueError(text)
            return _BOOLEANS[text.lower()]
        value = self.type(text)
        if self.choices and value not in self.choices:
            raise ValueError(text)
        return value


def options_of(cls: Any) -> tuple[Option, ...]:
    """The options of a pass class, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    options = (_option(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init)
    return tuple(option for option in options if option is not None)


def build_pass(cls: Callable[..., Pass], text: str) -> Pass:
    """An instance of a pass class from `a=1 b=2`; PipelineError for what it does not take."""
    known = {option.name: option for option in options_of(cls)}
    values: dict[str, Any] = {}
    for key, value in _split(text):
        option = known.get(key.replace("_", "-"))
        if option is None:
            takes = ", ".join(known) or "none"
            raise PipelineError(f"pass '{cls.name}' has no option '{key}'; its options: {takes}")  # type: ignore[attr-defined]
        try:
            values[option.field] = option.read(value)
        except ValueError:
            raise PipelineError(
                f"option '{option.name}' of pass '{cls.name}' takes {option.values}, but got '{value}'"  # type: ignore[attr-defined]
            ) from None
    return cls(**values)


def pass_text(pass_: Pass) -> str:
    """The pipeline element that builds `pass_` again, leaving out defaults."""
    values = [(option, getattr(pass_, option.field)) for option in options_of(type(pass_))]
    written = " ".join(f"{option.name}={_spell(value)}" for option, value in values if value != option.default)
    return f"{pass_.name}{{{written}}}" if written else pass_.name


def _option(field: "dataclasses.Field[Any]", hint: Any) -> Option | None:
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds = [member for member in members if member is not types.NoneType]
    if len(kinds) != 1:
        return None
    choices = typing.get_args(kinds[0]) if typing.get_origin(kinds[0]) is typing.Literal else ()
    kind = type(choices[0]) if choices else kinds[0]
    if kind not in _SCALARS:
        return None
    name = field.name.replace("_", "-")
    return Option(name, field.name, kind, len(members) > 1, choices, field.default)


def _spell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f'"{text}"' if text == "" or any(c.isspace() or c in "{},()'" for c in text) else text


def _split(text: str) -> list[tuple[str, str]]:
    """`a=1 b="x y" c` as pairs; a value may be quoted or in braces."""
    pairs, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        end = at
        while end < len(text) and not text[end].isspace() and text[end] != "=":
            end += 1
        key, value = text[at:end], ""
        if text[end : end + 1] == "=":
            value, end = _value(text, end + 1)
        pairs.append((key, value))
        at = end
    return pairs


def _value(text: str, at: int) -> tuple[str, int]:
    if closing := _QUOTES.get(text[at : at + 1]):
        end = text.find(closing, at + 1)
        if end < 0:
            raise PipelineError(f"no {closing} after {text[at:]} in pass options")
        return text[at + 1 : end], end + 1
    end = at
    while end < len(text) and not text[end].isspace():
        end += 1
    return text[at:end], end
