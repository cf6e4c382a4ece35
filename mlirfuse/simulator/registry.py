"""Operation name -> the function that translates it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlirfuse.simulator.translator import Translator

__all__ = ["TRANSLATIONS", "Translation", "translates"]

Translation = Callable[["Translator", Any], None]
TRANSLATIONS: dict[str, Translation] = {}


def translates(*names: str) -> Callable[[Translation], Translation]:
    """Register the decorated `function(translator, operation)` for the operations called `names`."""

    def register(function: Translation) -> Translation:
        for name in names:
            assert name not in TRANSLATIONS, f"{name} is translated twice"
            TRANSLATIONS[name] = function
        return function

    return register
