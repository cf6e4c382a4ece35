"""How many bytes an element takes, for every element type that tensors, files and kernels know (numpy's names)."""

__all__ = ["ELEMENT_BYTES", "SINGLE", "element_bytes"]

ELEMENT_BYTES = {
    **{"bool": 1, "int8": 1, "uint8": 1, "float8_e4m3fn": 1, "float8_e5m2": 1},
    **{"int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2},
    **{"int32": 4, "uint32": 4, "float32": 4},
    **{"int64": 8, "uint64": 8, "float64": 8, "complex64": 8},
}

SINGLE = frozenset(("float32", "float16", "bfloat16"))  # what kernels compute in single precision, however it is stored


def element_bytes(name: str) -> int:
    """Bytes of one element, in memory and in files alike; numpy itself lacks some of these types."""
    return ELEMENT_BYTES[name]
