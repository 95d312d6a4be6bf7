"""The same problems in PyTorch and in ONNX Runtime, as calls without arguments.

Peers get what suits them: tensors over our memory, in our memory format; an ONNX
session with the weights as constants (packed when it is made) and outputs bound
beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from problems import Problem


def _pads(dims: Any) -> tuple[int, int]:
    (top, bottom), (left, right) = dims.pad
    if top != bottom or left != right:
        raise ValueError(f"{dims}: PyTorch pads both sides alike")
    return top, left


def torch(problem: Problem, threads: int) -> Callable[[], Any]:
    """A call that returns a tensor, or a tuple of them."""
    import torch

    torch.set_num_threads(threads)
    arrays = [torch.from_numpy(a) for a in problem.arguments if isinstance(a, np.ndarray)]
    call = _TORCH[problem.verb](torch, problem, *arrays)

    def run() -> Any:
        with torch.inference_mode(problem.verb != "lrn_dx"):
            return call()

    return run


def _torch_conv2d(torch: Any, p: Problem, x: Any, w: Any) -> Callable[[], Any]:
    d = p.dims
    return lambda: torch.conv2d(x, w, None, d.stride, _pads(d), d.dilation, d.groups)


def _torch_conv2d_backward(torch: Any, p: Problem, dy: Any, other: Any) -> Callable[[], Any]:
    d, want_dx = p.dims, p.verb == "conv2d_dx"
    x, w = (torch.from_numpy(p.out), other) if want_dx else (other, torch.from_numpy(p.out))
    options = (None, d.stride, _pads(d), d.dilation, False, (0, 0), d.groups)
    backward, mask = torch.ops.aten.convolution_backward, (want_dx, not want_dx, False)
    return lambda: backward(dy, x, w, *options, mask)[0 if want_dx else 1]


def _torch_max_pool2d(torch: Any, p: Problem, x: Any) -> Callable[[], Any]:
    d = p.dims
    both = torch.ops.aten.max_pool2d_with_indices
    call = both if p.options["return_indices"] else torch.max_pool2d
    return lambda: call(x, (d.kh, d.kw), d.stride, _pads(d), d.dilation, d.ceil_mode)


def _torch_max_pool2d_dx(torch: Any, p: Problem, dy: Any, indices: Any) -> Callable[[], Any]:
    d, wide, x = p.dims, indices.long(), torch.from_numpy(p.out)
    options = ((d.kh, d.kw), d.stride, _pads(d), d.dilation, d.ceil_mode)
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    return lambda: backward(dy, x, *options, wide)


def _torch_avg_pool2d(torch: Any, p: Problem, x: Any) -> Callable[[], Any]:
    d, call = p.dims, torch.nn.functional.avg_pool2d
    return lambda: call(x, (d.kh, d.kw), d.stride, _pads(d), d.ceil_mode)


def _torch_avg_pool2d_dx(torch: Any, p: Problem, dy: Any) -> Callable[[], Any]:
    d, x = p.dims, torch.from_numpy(p.out)
    options = ((d.kh, d.kw), d.stride, _pads(d), d.ceil_mode, True, None)
    return lambda: torch.ops.aten.avg_pool2d_backward(dy, x, *options)


def _torch_lrn(torch: Any, p: Problem, x: Any) -> Callable[[], Any]:
    size, call = p.arguments[-1], torch.nn.functional.local_response_norm
    return lambda: call(x, size, **p.options)


def _torch_lrn_dx(torch: Any, p: Problem, dy: Any, x: Any) -> Callable[[], Any]:
    x = x.detach().requires_grad_()
    y = torch.nn.functional.local_response_norm(x, p.arguments[-1], **p.options)
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)[0]


_TORCH: dict[str, Callable[..., Callable[[], Any]]] = {
    "conv2d": _torch_conv2d,
    "conv2d_dx": _torch_conv2d_backward,
    "conv2d_dw": _torch_conv2d_backward,
    "max_pool2d": _torch_max_pool2d,
    "max_pool2d_dx": _torch_max_pool2d_dx,
    "avg_pool2d": _torch_avg_pool2d,
    "avg_pool2d_dx": _torch_avg_pool2d_dx,
    "lrn": _torch_lrn,
    "lrn_dx": _torch_lrn_dx,
}

# ONNX Runtime predicts only, and has no int32 indices of a maximum.
ONNX_VERBS = {"conv2d": "Conv", "max_pool2d": "MaxPool", "avg_pool2d": "AveragePool", "lrn": "LRN"}
_OPSET, _IR = 19, 9


def onnxruntime(problem: Problem, threads: int) -> Callable[[], Any]:
    """A call that returns the output, in memory bound beforehand."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        _onnx_model(problem), options, providers=["CPUExecutionProvider"]
    )
    x, y = problem.arguments[0], np.empty_like(problem.out)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_output("y", "cpu", 0, y.dtype, y.shape, y.ctypes.data)

    def run() -> Any:
        session.run_with_iobinding(binding)
        return y

    return run


def _onnx_model(p: Problem) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    float32 = TensorProto.FLOAT
    weights = [numpy_helper.from_array(p.arguments[1], "w")] if p.verb == "conv2d" else []
    inputs = ["x", *(w.name for w in weights)]
    node = helper.make_node(ONNX_VERBS[p.verb], inputs, ["y"], **_onnx_attributes(p))
    graph = helper.make_graph(
        [node],
        p.verb,
        [helper.make_tensor_value_info("x", float32, p.arguments[0].shape)],
        [helper.make_tensor_value_info("y", float32, p.out.shape)],
        weights,
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, ir_version=_IR, opset_imports=opsets).SerializeToString()


def _onnx_attributes(p: Problem) -> dict[str, Any]:
    if p.verb == "lrn":
        o = p.options
        return {"alpha": o["alpha"], "beta": o["beta"], "bias": o["k"], "size": p.arguments[-1]}
    d = p.dims
    (top, bottom), (left, right) = d.pad
    window = {"kernel_shape": (d.kh, d.kw), "strides": d.stride, "pads": (top, left, bottom, right)}
    if p.verb == "conv2d":
        return window | {"dilations": d.dilation, "group": d.groups}
    own = {"count_include_pad": 1} if p.verb == "avg_pool2d" else {}
    return window | {"ceil_mode": int(d.ceil_mode)} | own
