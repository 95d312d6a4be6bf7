"""Lists the compiled parts; everything else stands in pyproject.toml.

FASTCONV_BUILD=pure   no extensions: a pure Python wheel, on Numba or NumPy
FASTCONV_DEBUG=1      bounds checks in Cython, -O0 -g
FASTCONV_WERROR=1     warnings of the C compiler are errors (our own C only)
"""

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext


DEBUG = os.environ.get("FASTCONV_DEBUG") == "1"
OPTIMISE = ["-O0", "-g"] if DEBUG else ["-O3", "-g0"]
WARN = ["-Wall", "-Wextra"] + (["-Werror"] if os.environ.get("FASTCONV_WERROR") == "1" else [])
CFLAGS = ["-std=gnu11", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", *OPTIMISE, *WARN]
HEADERS = [*glob("kernels/*.h"), *glob("kernels/simd/*.h"), *glob("kernels/*.pxi")]

# Only these files get machine flags: everything else runs on the baseline.
ISA_FLAGS = {
    "scalar": ["-fno-tree-vectorize"],
    "sse2": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma"],
    "neon": [],
}
ISAS = {
    "x86_64": ["scalar", "sse2", "avx2", "avx512"],
    "amd64": ["scalar", "sse2", "avx2", "avx512"],
}
ISAS |= {"aarch64": ["scalar", "neon"], "arm64": ["scalar", "neon"]}


ALLOWED = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
PROCESSORS = len(ALLOWED) or os.cpu_count() or 1


class Libraries(build_clib):
    """One for each instruction set, at the same time: the build 155 s, on two processors 90."""

    def build_libraries(self, libraries):
        workers = self.get_finalized_command("build").parallel or PROCESSORS
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda one: build_clib.build_libraries(self, [one]), libraries))


class Extensions(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or PROCESSORS


def library(isa):
    sources = [f"kernels/simd/tiles_{isa}_{dtype}.c" for dtype in ("f32", "f64")]
    build = {"sources": sources, "obj_deps": {"": HEADERS}, "cflags": [*CFLAGS, *ISA_FLAGS[isa]]}
    return f"fc_{isa}", build


def extensions():
    from Cython.Build import cythonize

    common = {"depends": HEADERS, "include_dirs": ["kernels"], "extra_compile_args": OPTIMISE}
    modules = [
        Extension(
            "fastconv.kernels.cpu",
            ["kernels/cpu.pyx", "kernels/threads.c", "kernels/simd/find.c"],
            extra_link_args=["-pthread"],
            **common,
        )
    ]
    convolutions = ("conv2d_direct", "conv2d_im2col", "conv2d_winograd")
    names = (*convolutions, "pool2d_direct", "lrn_direct", "elementwise_direct")
    for name in names:
        path = f"kernels/{name}.pyx"
        modules.append(Extension(f"fastconv.kernels.{name}", [path], **common))
    directives = {
        "language_level": 3,
        "boundscheck": DEBUG,
        "wraparound": False,
        "cdivision": True,
        "initializedcheck": False,
        "nonecheck": False,
        "embedsignature": True,
        "freethreading_compatible": True,
    }
    return cythonize(modules, build_dir="build/cython", compiler_directives=directives)


if os.environ.get("FASTCONV_BUILD") == "pure":
    setup()
else:
    isas = ISAS.get(platform.machine().lower(), ["scalar"])
    libraries = [library(isa) for isa in isas]
    modules = extensions()
    modules[0].libraries = [name for name, _ in libraries]
    commands = {"build_clib": Libraries, "build_ext": Extensions}
    setup(ext_modules=modules, libraries=libraries, cmdclass=commands)
