"""The C tile functions by themselves, under the address and undefined-behaviour sanitizers."""

import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
SIMD = ROOT / "kernels" / "simd"
X86 = {
    "scalar": [],
    "sse2": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma"],
}
ARM = {"scalar": [], "neon": []}
ISAS = {"x86_64": X86, "aarch64": ARM}.get(platform.machine(), {})


@pytest.mark.skipif(not ISAS, reason="no list of instruction sets for this machine")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_tiles_equal_plain_sums_and_stay_inside_their_arrays(tmp_path):
    compiler = ["cc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{SIMD}"]
    compiler += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

    def build(isa, dtype):
        source, built = SIMD / f"tiles_{isa}_{dtype}.c", tmp_path / f"{isa}_{dtype}.o"
        subprocess.run([*compiler, *ISAS[isa], "-c", source, "-o", built], check=True)
        return built

    with ThreadPoolExecutor() as pool:  # two minutes of compiling
        objects = list(pool.map(build, *zip(*product(ISAS, ("f32", "f64")), strict=True)))
    check = tmp_path / "check"
    sources = [Path(__file__).with_name("tiles_check.c"), SIMD / "find.c"]
    subprocess.run([*compiler, *sources, *objects, "-lm", "-o", check], check=True)
    done = subprocess.run([check], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scalar 4: checked" in done.stdout
    assert done.stdout.endswith("0 failures\n")
