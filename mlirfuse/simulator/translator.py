"""Translates one gpu.func to a Python function over lane arrays.

Layout at run time: a scalar value is a Python or NumPy scalar where it is uniform, else an array
that broadcasts to (threads, blocks); a vector value has its vector dimensions in front, so every
element is a contiguous lane array and scalars broadcast into vectors. Index values stay symbolic
sums (`Linear`) while they can: the part that differs between lanes is computed once, where its
operands are defined, and loop counters are added as plain integers. Pure integer operations are
hoisted the same way.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.mlir import ir
from mlirfuse.simulator.element import ValueType, value_type
from mlirfuse.simulator.fault import SimulationError, Site
from mlirfuse.simulator.flops import flops
from mlirfuse.simulator.linear import Linear
from mlirfuse.simulator.registry import TRANSLATIONS
from mlirfuse.simulator.scope import Line, Scope
from mlirfuse.simulator.uniform import varying_values

__all__ = ["MemRef", "Translation", "Translator"]

_COUNTED = ("memref.load", "affine.load", "affine.vector_load", "vector.load")
_TERMINATORS = ("gpu.return", "scf.yield", "scf.condition", "affine.yield")


@dataclass(frozen=True)
class MemRef:
    """A memref value: the variable of its buffer, and each buffer dimension's index as `offset + step * i[axis]`."""

    name: str
    space: str
    element: ValueType
    view: tuple[tuple[Linear, int, int | None], ...]
    description: str

    def indices(self, indices: list[Linear]) -> list[Linear]:
        """Indices into the buffer for `indices` into this memref."""
        return [offset if axis is None else offset + indices[axis].scale(step) for offset, step, axis in self.view]


@dataclass(frozen=True)
class Translation:
    """A translated kernel: its source, what the source refers to, and its arguments."""

    source: str
    constants: dict[str, Any]
    arguments: tuple[ValueType, ...]
    sizes: tuple[int, ...]
    written: frozenset[int]
    workgroup: tuple[tuple[np.dtype, tuple[int, ...], str], ...]
    dynamic_elements: dict[np.dtype, int]
    shared_item_bytes: int
    block_size: tuple[int, ...] | None
    grid_size: tuple[int, ...] | None
    cluster: int = 1
    """Blocks of a cluster, along x."""


class Translator:
    """The state of one translation. Operations' functions (`simulator/ops`) call its methods."""

    def __init__(self, function: Any, observe: bool, wanted: set[int] | None = None) -> None:
        """`observe` counts flops; `wanted` (hashes of values) leaves out every value outside the set."""
        self.kernel = ir.StringAttr(function.attributes["sym_name"]).value
        self.observe, self.wanted = observe, wanted
        self.varying = varying_values(function)
        self.block_size = _sizes(function, "gpu.known_block_size")
        self.grid_size = _sizes(function, "gpu.known_grid_size")
        self.scope = self.entry = Scope()
        self.mask = "True"
        self.flops = 0
        self.constants: dict[str, Any] = {}
        self.memrefs: dict[int, MemRef] = {}
        self.written: set[int] = set()
        self.positions: dict[str, int] = {}
        self.shared_item_bytes = 8
        self.dynamic_shared: set[int] = set()
        self.dynamic_elements: dict[np.dtype, int] = {}
        self._linear: dict[int, Linear] = {}
        self._names: dict[int, str] = {}
        self._splats: dict[int, str] = {}
        self._homes: dict[str, Scope] = {}
        self._lanes: set[str] = set()
        self._counter = itertools.count(1)
        self._function = function
        self.cluster, *others = _sizes(function, "gpu.known_cluster_size") or (1,)
        if any(size != 1 for size in others):
            raise self.refuse(function, "the simulator knows clusters along x only")

    # Names and statements

    def fresh(self, lanes: bool = True) -> str:
        """A new variable of the current scope; `lanes` unless it is known to be uniform."""
        name = f"v{next(self._counter)}"
        self._homes[name] = self.scope
        if lanes:
            self._lanes.add(name)
            self.scope.owned.add(name)
        return name

    def move_home(self, name: str, scope: Scope) -> None:
        """`name` changes inside `scope`: nothing that depends on it may be hoisted further out."""
        self._homes[name] = scope

    def line(self, text: str, body: Scope | None = None) -> None:
        """Append a statement to the current scope."""
        self.scope.lines.append(Line(text, body))

    def assign(self, text: str, lanes: bool = True) -> str:
        """A new variable with the value of `text`, computed here and now."""
        name = self.fresh(lanes)
        self.line(f"{name} = {text}")
        return name

    def pure(self, text: str, lanes: bool = True) -> str:
        """A variable with the value of `text`, computed once in the outermost scope that has its operands."""
        home = self.entry
        for name in Line(text).uses():
            if self._homes[name].depth > home.depth:
                home = self._homes[name]
        if text not in home.memo:
            here, self.scope = self.scope, home
            home.memo[text] = self.assign(text, lanes)
            self.scope = here
        return home.memo[text]

    def constant(self, value: Any) -> str:
        """The name of a Python object in the kernel's globals."""
        name = f"K{len(self.constants)}"
        self.constants[name] = value
        return name

    def site(self, op: Any, memref: MemRef | None = None) -> str:
        """The name of the constant that describes `op` in error messages."""
        location = str(op.location).removeprefix("loc(").removesuffix(")")
        return self.constant(Site(self.kernel, op.name, location, memref.description if memref else ""))

    def refuse(self, op: Any, why: str) -> SimulationError:
        """The error for an operation that cannot be simulated."""
        return self.constants[self.site(op)].fault(why)

    # Values

    def is_uniform(self, value: Any) -> bool:
        """One scalar for all lanes at run time."""
        return hash(value) not in self.varying

    def is_lane_name(self, name: str) -> bool:
        """The variable may hold an array over lanes."""
        return name in self._lanes

    def bind(self, value: Any, name: str) -> None:
        """`value` is held by the variable or literal `name`."""
        if isinstance(value.type, ir.IndexType):
            self._linear[hash(value)] = Linear.variable(name)
        else:
            self._names[hash(value)] = name

    def bind_linear(self, value: Any, linear: Linear) -> None:
        """The index `value` is this sum."""
        self._linear[hash(value)] = linear

    def bind_splat(self, value: Any, scalar: str) -> None:
        """Every element of the vector `value` is `scalar`."""
        self._splats[hash(value)] = scalar

    def splat(self, value: Any) -> str | None:
        """The scalar that a vector `value` repeats, if that is known."""
        return self._splats.get(hash(value))

    def linear(self, value: Any) -> Linear:
        """An index value as a sum."""
        return self._linear[hash(value)]

    def ref(self, value: Any) -> str:
        """A variable or literal that holds `value` in full."""
        key = hash(value)
        if self.wanted is not None and key not in self.wanted:
            return "None"
        if key in self._linear:
            return self.sum(self._linear[key])
        if key not in self._names:
            shape = tuple(value.type.shape)
            self._names[key] = self.pure(f"splat({self._splats[key]}, {shape})")
        return self._names[key]

    def refs(self, values: Any) -> list[str]:
        """`ref` of each value."""
        return [self.ref(v) for v in values]

    def sum(self, linear: Linear) -> str:
        """A variable or literal for a sum, computed in as outer a scope as its lanes and its loops allow."""
        if linear.is_constant:
            return str(linear.constant)
        if len(linear.terms) == 1 and linear.terms[0][1] == 1 and not linear.constant:
            return linear.terms[0][0]
        lanes = linear.part(self.is_lane_name)
        uniform = linear - lanes
        if lanes.is_constant:
            return self.pure(uniform.text(), lanes=False)
        if len(lanes.terms) < len(linear.terms):
            return self.pure(f"{self.sum(lanes)}+({self.sum(uniform)})")
        return self.pure(linear.text())

    def define(self, op: Any, text: str) -> None:
        """The only result of `op` is `text`, computed in place."""
        result = op.results[0]
        self.bind(result, self.assign(text, lanes=not self.is_uniform(result)))

    def define_pure(self, op: Any, text: str) -> None:
        """The only result of `op` is `text`, computed as far out as possible."""
        result = op.results[0]
        self.bind(result, self.pure(text, lanes=not self.is_uniform(result)))

    def elementwise(self, op: Any, template: str) -> None:
        """`template` with the operands for {0}, {1}, ...; splats stay scalars, integers are hoisted."""
        result = op.results[0]
        kind = value_type(result.type)
        vectors = [v for v in op.operands if isinstance(v.type, ir.VectorType)]
        splats = [self.splat(v) for v in op.operands]
        names = [splat or self.ref(v) for splat, v in zip(splats, op.operands, strict=True)]
        text = template.format(*names)
        if vectors and all(self.splat(v) for v in vectors):
            self.bind_splat(result, self.assign(text))
        elif kind.is_float:
            self.define(op, text)
        else:
            self.define_pure(op, text)

    # Regions

    def block(self, block: Any, scope: Scope, mask: str) -> list[Any]:
        """Translate `block` into `scope` under `mask`; the operands of its terminator.

        On return the current scope is still `scope`, so that the caller can add what happens to
        the yielded values, and then go back.
        """
        outer = (self.mask, self.flops)
        self.scope, self.mask, self.flops = scope, mask, 0
        yields: list[Any] = []
        for op in block.operations:
            operation = op.operation
            if operation.name in _TERMINATORS:
                yields = list(operation.operands)
                continue
            self.flops += flops(operation) if self.observe else 0
            if self.is_wanted(operation):
                self.operation(operation)
        if self.flops:
            self.line(f"rt.count_flops({self.mask}, {self.flops})")
        self.mask, self.flops = outer
        return yields

    def inner(self) -> Scope:
        """A new scope inside the current one."""
        return Scope(depth=self.scope.depth + 1)

    def is_wanted(self, op: Any) -> bool:
        """False for an operation whose results nobody asked for and that does nothing else."""
        if self.wanted is None or op.regions or not op.results:
            return True
        return (
            any(hash(r) in self.wanted or isinstance(r.type, ir.MemRefType) for r in op.results) or op.name in _COUNTED
        )

    def operation(self, op: Any) -> None:
        """Translate one operation."""
        translation = TRANSLATIONS.get(op.name)
        if translation is None:
            raise self.refuse(op, "the simulator does not know this operation; register it in simulator/ops")
        translation(self, op)

    def translate(self) -> Translation:
        """The whole kernel."""
        function, block = self._function, self._function.regions[0].blocks[0]
        inputs = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value).inputs
        arguments = list(block.arguments)
        kinds, sizes, workgroup = [], [], []
        for position, argument in enumerate(arguments[: len(inputs)]):
            type_ = ir.MemRefType(argument.type)
            kinds.append(value_type(type_.element_type))
            shape = (*type_.shape, *kinds[-1].shape)
            sizes.append(int(np.prod(shape, dtype=np.int64)))
            memref = self.bind_buffer(argument, f"rt.argument({position}, {shape})", f"argument {position}")
            self.positions[memref.name] = position
        for position, argument in enumerate(arguments[len(inputs) :]):
            type_ = ir.MemRefType(argument.type)
            element = value_type(type_.element_type)
            self.shared_item_bytes = min(self.shared_item_bytes, element.dtype.itemsize)
            memref = self.bind_buffer(argument, f"rt.workgroup({position})", f"workgroup buffer {position}")
            workgroup.append((element.dtype, (*type_.shape, *element.shape), memref.description))
        self.block(block, self.entry, "True")
        source = "\n".join(["def kernel(rt):", *self.entry.render(), ""])
        return Translation(
            source, self.constants, tuple(kinds), tuple(sizes), frozenset(self.written), tuple(workgroup),
            self.dynamic_elements, self.shared_item_bytes, self.block_size, self.grid_size,
            self.cluster,
        )  # fmt: skip

    def bind_buffer(self, value: Any, text: str, what: str) -> MemRef:
        """`value` is a whole buffer, made by `text`; `what` describes it in messages."""
        type_ = ir.MemRefType(value.type)
        space = str(type_.memory_space or "")
        kind = "global" if "global" in space else "shared" if "workgroup" in space else "private"
        element = value_type(type_.element_type)
        view: tuple[tuple[Linear, int, int | None], ...] = tuple((Linear(), 1, i) for i in range(len(type_.shape)))
        if kind != "private":  # a vector element is the last dimension of the buffer
            view += ((Linear(), 1, None),) * len(element.shape)
        name = self.assign(text)
        shape = "x".join(str(n) for n in type_.shape)
        description = f"{what} (memref<{shape}{'x' if shape else ''}{type_.element_type}>)"
        memref = MemRef(name, kind, element, view, description)
        self.memrefs[hash(value)] = memref
        return memref


def _sizes(function: Any, name: str) -> tuple[int, ...] | None:
    return tuple(ir.DenseI32ArrayAttr(function.attributes[name])) if name in function.attributes else None
