"""What a wheel must do where little else is installed: .ci/run calls this with its backends."""

import importlib
import importlib.util
import subprocess
import sys

import numpy as np

import fastconv as fc


IMPORT = (
    "import time; a = time.perf_counter(); import numpy; b = time.perf_counter(); "
    "import fastconv; print(b - a, time.perf_counter() - b)"
)
# Seconds over NumPy's own import; on a slow machine, where that takes longer, a share of it.
IMPORT_LIMIT, IMPORT_SHARE = 0.020, 0.30


def require(condition: bool, what: str) -> None:
    if not condition:
        sys.exit(f"smoke test: {what}")


def environment_is_empty() -> None:
    found = [m for m in ("matplotlib", "sklearn") if importlib.util.find_spec(m)]
    require(not found, f"the environment is not empty: {found}")
    require("site-packages" in fc.__file__, f"not the installed wheel: {fc.__file__}")
    require(fc.available_backends() == tuple(sys.argv[1:]), f"{fc.available_backends()}")


def kernels_agree() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (4, 3, 12, 11)).astype(np.float32)
    w = rng.integers(-4, 5, (8, 3, 3, 3)).astype(np.float32)
    y = {b: fc.conv2d(x, w, padding=1, backend=b) for b in fc.available_backends()}
    require(all(np.array_equal(y["numpy"], a) for a in y.values()), "conv2d differs")
    dy = rng.integers(-4, 5, y["numpy"].shape).astype(np.float32)
    *others, reference = (
        fc.conv2d_backward(dy, x, w, padding=1, backend=b) for b in fc.available_backends()
    )
    for gradients in others:
        require(all(map(np.array_equal, gradients, reference)), "conv2d_backward differs")


def training_lowers_the_loss() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.random((32, 1, 28, 28), np.float32), np.arange(32) % 10
    net = fc.models.lenet5(rng=0)
    optimizer = fc.SGD(net.parameters(), lr=0.05)
    losses = []
    for _ in range(3):
        loss, dscores = fc.softmax_cross_entropy(net.forward(x, train=True), labels)
        optimizer.zero_grad()
        net.backward(dscores)
        optimizer.step()
        losses.append(loss)
    require(losses[2] < losses[0], f"three steps of training did not lower the loss: {losses}")


def every_part_is_in_the_wheel() -> None:
    """Parts that need other packages say so where these are used, not sooner."""
    for part in ("augment", "callbacks", "cli", "ensemble", "plot", "pretraining", "search"):
        importlib.import_module(f"fastconv.{part}")
    try:
        importlib.import_module("fastconv.sklearn")
    except ImportError as error:
        require("pip install 'fastconv[sklearn]'" in str(error), f"fastconv.sklearn: {error}")
    else:
        require(False, "fastconv.sklearn was imported without scikit-learn")


def import_is_quick() -> None:
    runs = [subprocess.check_output([sys.executable, "-I", "-c", IMPORT]) for _ in range(9)]
    numpy, ours = (min(times) for times in zip(*(map(float, r.split()) for r in runs), strict=True))
    print(f"import fastconv: {ours * 1e3:.1f} ms over NumPy's {numpy * 1e3:.1f}")
    limit = max(IMPORT_LIMIT, IMPORT_SHARE * numpy)
    require(ours <= limit, f"import takes {ours:.3f} s, more than {limit:.3f} s")


if __name__ == "__main__":
    environment_is_empty()
    kernels_agree()
    training_lowers_the_loss()
    every_part_is_in_the_wheel()
    import_is_quick()
    fc.show_runtime()
