"""The same problems in PyTorch, ONNX Runtime and ncnn, as calls without arguments.

Peers get what suits them: tensors over our memory, in our memory format, weights
included; an ONNX session with the weights as constants (packed when it is made) and
outputs bound beforehand; an ncnn net that transformed its weights when they were loaded.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from problems import Problem


def missing(peer: str) -> str | None:
    """Why a peer cannot take part, or None if it can."""
    modules = ("onnx", peer) if peer == "onnxruntime" else (peer,)
    lacking = [m for m in modules if importlib.util.find_spec(m) is None]
    return f"{', '.join(lacking)} not installed (pip install -e '.[peers]')" if lacking else None


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
        with torch.inference_mode(problem.verb not in ("lrn_dx", "lrn_both")):
            return call()

    return run


def _in_format_of(torch: Any, x: Any, w: Any) -> Any:
    """Weights as a model in x's memory format keeps them."""
    if x.is_contiguous():
        return w
    return w.contiguous(memory_format=torch.channels_last)


def _torch_conv2d(torch: Any, p: Problem, x: Any, w: Any) -> Callable[[], Any]:
    d, w = p.dims, _in_format_of(torch, x, w)
    return lambda: torch.conv2d(x, w, None, d.stride, _pads(d), d.dilation, d.groups)


def _torch_conv2d_backward(torch: Any, p: Problem, dy: Any, other: Any) -> Callable[[], Any]:
    d, want_dx = p.dims, p.verb == "conv2d_dx"
    x, w = (torch.from_numpy(p.out), other) if want_dx else (other, torch.from_numpy(p.out))
    options = (None, d.stride, _pads(d), d.dilation, False, (0, 0), d.groups)
    backward, mask = torch.ops.aten.convolution_backward, (want_dx, not want_dx, False)
    return lambda: backward(dy, x, w, *options, mask)[0 if want_dx else 1]


def _torch_conv2d_both(torch: Any, p: Problem, dy: Any, x: Any, w: Any) -> Callable[[], Any]:
    d, w = p.dims, _in_format_of(torch, x, w)
    options = (None, d.stride, _pads(d), d.dilation, False, (0, 0), d.groups)
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(dy, x, w, *options, (True, True, False))[:2]


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


def _torch_max_pool2d_both(torch: Any, p: Problem, x: Any, dy: Any) -> Callable[[], Any]:
    d = p.dims
    options = ((d.kh, d.kw), d.stride, _pads(d), d.dilation, d.ceil_mode)
    forward = torch.ops.aten.max_pool2d_with_indices
    backward = torch.ops.aten.max_pool2d_with_indices_backward

    def call() -> Any:
        y, indices = forward(x, *options)
        return y, backward(dy, x, *options, indices)

    return call


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


def _torch_lrn_both(torch: Any, p: Problem, x: Any, dy: Any) -> Callable[[], Any]:
    x = x.detach().requires_grad_()

    def call() -> Any:
        y = torch.nn.functional.local_response_norm(x, p.arguments[-1], **p.options)
        return y, torch.autograd.grad(y, x, dy)[0]

    return call


_TORCH: dict[str, Callable[..., Callable[[], Any]]] = {
    "conv2d": _torch_conv2d,
    "conv2d_dx": _torch_conv2d_backward,
    "conv2d_dw": _torch_conv2d_backward,
    "conv2d_backward": _torch_conv2d_both,
    "max_pool2d": _torch_max_pool2d,
    "max_pool2d_dx": _torch_max_pool2d_dx,
    "max_pool2d_both": _torch_max_pool2d_both,
    "avg_pool2d": _torch_avg_pool2d,
    "avg_pool2d_dx": _torch_avg_pool2d_dx,
    "lrn": _torch_lrn,
    "lrn_dx": _torch_lrn_dx,
    "lrn_both": _torch_lrn_both,
}

# ONNX Runtime predicts only, and has no int32 indices of a maximum.
ONNX_VERBS = {"conv2d": "Conv", "max_pool2d": "MaxPool", "avg_pool2d": "AveragePool", "lrn": "LRN"}
_OPSET, _IR = 19, 9


def onnxruntime(problem: Problem, threads: int) -> Callable[[], Any]:
    """A call that returns the output, in memory bound beforehand."""
    return onnx_run(_onnx_model(problem), problem.arguments[0], problem.out.shape, threads)


def onnx_run(model: bytes, x: Any, y_shape: tuple[int, ...], threads: int) -> Callable[[], Any]:
    """The model's "y" of "x"."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    y = np.empty(y_shape, "f4")
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_output("y", "cpu", 0, y.dtype, y.shape, y.ctypes.data)

    def run() -> Any:
        session.run_with_iobinding(binding)
        return y

    return run


def _onnx_model(p: Problem) -> bytes:
    from onnx import helper

    weights = {"w": p.arguments[1]} if p.verb == "conv2d" else {}
    node = helper.make_node(ONNX_VERBS[p.verb], ["x", *weights], ["y"], **_onnx_attributes(p))
    return onnx_bytes([node], p.arguments[0].shape, p.out.shape, weights)


def onnx_bytes(
    nodes: list[Any], x: tuple[int, ...], y: tuple[int, ...], weights: dict[str, Any]
) -> bytes:
    """A model of nodes from "x" to "y", with constants by name."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "fastconv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
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


def ncnn(problem: Problem, threads: int) -> Callable[[], Any]:
    """A call that predicts one image's convolution."""
    import ncnn

    net, x = ncnn.Net(), ncnn.Mat(problem.arguments[0][0]).clone()  # planes aligned as it likes
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param_mem(_ncnn_param(problem.dims))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.bin"
        weights.write_bytes(bytes(4) + problem.arguments[1].tobytes())  # 4 zeros: float32
        net.load_model(str(weights))

    def run() -> Any:
        extractor = net.create_extractor()
        extractor.input("x", x)
        _, y = extractor.extract("y")
        return np.asarray(y)[None]

    return run


def _ncnn_param(d: Any) -> str:
    """The net as text: layers, blobs, then a line per layer with its numbered parameters."""
    (top, bottom), (left, right) = d.pad
    values = {0: d.k, 1: d.kw, 11: d.kh, 2: d.dilation[1], 12: d.dilation[0]}
    values |= {3: d.stride[1], 13: d.stride[0], 4: left, 15: right, 14: top, 16: bottom}
    values |= {5: 0, 6: int(np.prod(d.w_shape))}  # no bias; how many weights
    kind = "Convolution"
    if d.groups > 1:
        kind, values[7] = "ConvolutionDepthWise", d.groups
    parameters = " ".join(f"{key}={value}" for key, value in values.items())
    return f"7767517\n2 2\nInput x 0 1 x\n{kind} y 1 1 x y {parameters}\n"
