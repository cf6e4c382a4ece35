"""The Python source of a kernel while it is being written: nested blocks, hoisting targets, lifetimes."""

import re
from dataclasses import dataclass, field

__all__ = ["Line", "Scope"]

_NAME = re.compile(r"\bv\d+\b")


@dataclass
class Line:
    """One statement; with a body, a compound one."""

    text: str
    body: "Scope | None" = None

    def uses(self) -> set[str]:
        """Every variable named in the statement, its body included."""
        names = set(_NAME.findall(self.text))
        if self.body is not None:
            names = names.union(*(line.uses() for line in self.body.lines))
        return names


@dataclass
class Scope:
    """A block of statements.

    `memo` maps the text of a pure expression to the variable that holds it. A line appended to an
    outer scope while an inner one is being written lands before the inner one: that is how loop
    invariants are hoisted. `owned` are the variables born here, deleted after their last use so
    that lane arrays are recycled while they are warm in the cache.
    """

    depth: int = 0
    lines: list[Line] = field(default_factory=list)
    memo: dict[str, str] = field(default_factory=dict)
    owned: set[str] = field(default_factory=set)

    def render(self, indent: int = 1) -> list[str]:
        """The source lines, with a `del` after the last use of every owned variable."""
        last: dict[str, int] = {}
        for position, line in enumerate(self.lines):
            last.update(dict.fromkeys(line.uses() & self.owned, position))
        dead: dict[int, list[str]] = {}
        for name, position in last.items():
            while self._has_alternative(position):  # nothing may stand between an if and its else
                position += 1
            dead.setdefault(position, []).append(name)
        pad, out = "    " * indent, []
        for position, line in enumerate(self.lines):
            out.append(pad + line.text)
            if line.body is not None:
                out += line.body.render(indent + 1)
            if position in dead:
                out.append(f"{pad}del {', '.join(sorted(dead[position]))}")
        return out or [pad + "pass"]

    def _has_alternative(self, position: int) -> bool:
        return position + 1 < len(self.lines) and self.lines[position + 1].text == "else:"
