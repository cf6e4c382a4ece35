"""Kernels of several groups in one module, compiled once and run tile by tile on NumPy arrays."""

import ctypes
import dataclasses

import numpy as np
from group_builder import random_operands, reference, to_memory

from mlirfuse.artifact.recipes import apply_steps
from mlirfuse.device import host_device
from mlirfuse.lowering.cpu.emit import emit_kernel
from mlirfuse.lowering.schedule.host import choose_host_schedule, host_program, host_weight_layouts, weight_packings
from mlirfuse.mlir import context, ir

DEVICE = host_device()


def strided(array, strides, span):
    """A flat buffer that holds `array` at `strides`, other elements filled with a mark."""
    memory = np.full(span, 77, array.dtype)
    np.lib.stride_tricks.as_strided(memory, array.shape, [s * memory.itemsize for s in strides])[...] = array
    return memory


class Case:
    """One group under a schedule, with the strides of some of its tensors."""

    def __init__(self, group, schedule=None, input_strides=None, output_strides=None):
        self.schedule = schedule or choose_host_schedule(group, DEVICE)
        why = self.schedule.why_illegal(group, DEVICE)
        assert why is None, why
        layouts = host_weight_layouts(group, self.schedule)
        types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
        group = self.group = dataclasses.replace(group, types=types)
        self.program = host_program(group, self.schedule)
        self.packings = weight_packings(group, self.schedule)
        self.input_strides, self.output_strides = input_strides or {}, output_strides or {}

    def emit(self, name):
        return emit_kernel(self.program, name, input_strides=self.input_strides, output_strides=self.output_strides)

    def run(self, entry, seed=0):
        """The largest error of the outputs, relative to their largest element."""
        group = self.group
        operands = random_operands(group, seed)
        buffers = []
        for array, v in zip(operands, group.inputs, strict=True):
            if v in self.packings:
                steps = self.packings[v].recipe()
                buffers.append(np.ascontiguousarray(apply_steps(array, steps, dict)).reshape(-1))
                assert buffers[-1].size == self.packings[v].elements
            else:
                buffers.append(self._memory(array, v, self.input_strides))
        outputs = []
        for v in group.outputs:
            outputs.append(self._memory(np.full(group.types[v].dims, 55), v, self.output_strides))
        pointers = [ctypes.c_void_p(b.ctypes.data) for b in (*buffers, *outputs)]
        for tile in range(self.program.tile_count):
            entry(*pointers, tile)
        worst = 0.0
        for v, found, expected in zip(group.outputs, outputs, reference(group, operands), strict=True):
            wanted = self._memory(expected, v, self.output_strides)
            assert found.shape == wanted.shape
            if wanted.size == 0:
                continue
            difference = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
            worst = max(worst, float(np.nanmax(difference) / max(1e-9, np.abs(wanted.astype(np.float64)).max())))
        return worst

    def _memory(self, array, v, strides):
        t = self.group.types[v]
        kind = np.int8 if t.dtype == "bool" else t.dtype
        if v not in strides:
            return to_memory(np.asarray(array), t)
        from mlirfuse.lowering.cpu.frame import span_of

        return strided(np.asarray(array).astype(kind), strides[v], span_of(t.dims, strides[v]))


def compile_cases(cases):
    """Functions that run a tile, by the name of the case."""
    from cpu_jit import compile_module

    with context():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            for name, case in cases.items():
                case.emit(name)
        assert module.operation.verify()
        library = compile_module(module, list(cases))
    return {name: library.function(name, len(c.group.inputs) + len(c.group.outputs)) for name, c in cases.items()}
