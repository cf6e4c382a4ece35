"""Networks of single precision as networks of 16-bit floats."""

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper


def half_model(model, dtype=TensorProto.FLOAT16):
    """The same graph with `dtype` wherever it had float: inputs, outputs, weights, constants and casts."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        _round(tensor, dtype)
    for value in (*made.graph.input, *made.graph.output, *made.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = dtype
    for node in made.graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _round(attribute.t, dtype)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = dtype
    return made


def _round(tensor, dtype):
    if tensor.data_type == TensorProto.FLOAT:
        array = np.asarray(numpy_helper.to_array(tensor)).astype(helper.tensor_dtype_to_np_dtype(dtype))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
