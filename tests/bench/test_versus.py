"""bench/versus.py: every section runs on small layers; the papers hold a saved run."""

import importlib
import json
import shutil
from pathlib import Path

import ceiling
import contest
import layers
import machine
import networks
import numpy as np
import peers
import pytest
import report
import sections
import versus

import fastconv as fc


ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers'

# AlexNet's training step takes 4 GB and half a minute: test_networks_agree has its layers.
SMALL = {
    "forward": "^LeNet.*N=1$|primes n3c7",
    "backward": "^LeNet.*N=1$|primes n3c7",
    "ncnn": "depthwise 1024-1024 @7|512-512 @7",
    "numpy": "LeNet",
    "peak": "1x1/2 256-512",
    "im2col": "1x1/2 256-512",
    "pooling": "pool5 N=1$|norm2 N=1$",
    "lenet64": "LeNet",
    "lenet1": "LeNet",
    "predict": "LeNet",
    "threads": "1x1/2 256-512",
    "numba_forward": "^LeNet.*N=1$|primes n3c7",
    "numba_backward": "^LeNet.*N=1$|primes n3c7",
    "numba_numpy": "LeNet",
    "numba_lenet64": "LeNet",
}


@pytest.fixture
def untimed(monkeypatch):
    """Each contestant runs once; the k-th is said to have taken k seconds."""

    def race(runs, rounds):
        for run in runs:
            run()
        return [[float(k)] * rounds for k in range(1, len(runs) + 1)]

    monkeypatch.setattr(contest, "race", race)
    monkeypatch.setattr(sections, "race", race)
    described = {"processor": "", "peak": 100.0, "peak_how": "", "bandwidth": 10.0}
    monkeypatch.setattr(machine, "describe", lambda threads: described)
    threads = importlib.import_module("fastconv.kernels.threads")
    monkeypatch.setattr(threads, "_limit", 0)  # and so it is again afterwards


def test_every_section_is_tried():
    assert {*SMALL, "alexnet"} == {*sections.SECTIONS}


@pytest.mark.parametrize("name", SMALL)
def test_a_section(name, untimed, tmp_path, capsys):
    lacking = [peers.missing(peer) for peer in sections.SECTIONS[name].peers]
    if lacking and all(lacking):
        pytest.skip(lacking[0])
    path = tmp_path / "run.json"
    arguments = [name, "--threads", "2", "--rounds", "1", "--layers", SMALL[name]]
    assert versus.main([*arguments, "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["sections"][name]
    assert rows
    for row in rows:
        assert row["threads"] == 2
        assert len(row["seconds"]) >= 2
        assert row["best"] == list(row["seconds"])[1]
        assert name == "peak" or row["ratio"] == 2
    printed = capsys.readouterr().out
    for target in sections.SECTIONS[name].targets:
        assert any(target.of(row) for row in rows) == (f"| {target.what} |" in printed)


def test_a_missing_peer_is_named(untimed, monkeypatch, capsys):
    monkeypatch.setattr(peers, "missing", lambda peer: f"{peer} not installed")
    assert versus.main(["ncnn", "lenet1", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "left out: ncnn not installed" in printed
    assert "left out: torch not installed; jax not installed" in printed


def test_unknown_sections_are_refused(capsys):
    with pytest.raises(SystemExit):
        versus.main(["forwards"])
    assert "no section forwards; there are forward, backward" in capsys.readouterr().err


def test_each_layer_once():
    dims = [case.dims for case in layers.LAYERS]
    assert len(set(dims)) == len(dims)
    names = [case.name for case in layers.LAYERS]
    assert len(set(names)) == len(names)


def small_network(rng):
    return fc.Sequential(
        fc.Conv2d(3, 8, 3, stride=2, padding=1, rng=rng),
        fc.ReLU(),
        fc.MaxPool2d(3, 2),
        fc.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        fc.Flatten(),
        fc.Dropout(0.5, rng),
        fc.Linear(8 * 3 * 3, 5, rng=rng),
    )


def test_networks_agree():
    pytest.importorskip("torch")
    net = small_network(0)
    x, labels = networks.batch(networks.Network("small", small_network, (3, 16, 16), 5), 4)
    trainers = {f: networks.torch(net, x, labels, 1, f) for f in ("nchw", "nhwc")}
    scores = {f: networks.torch_predict(net, x, 1, f)() for f in trainers}
    if not peers.missing("onnxruntime"):
        scores["onnxruntime"] = networks.onnxruntime_predict(net, x, 1)()
    networks.check_scores({"ours": net(x), **scores})
    networks.check({"ours": networks.ours(net, x, labels), **trainers})


def test_other_scores_and_losses_are_refused():
    with pytest.raises(AssertionError, match="scores by b differ"):
        networks.check_scores({"a": np.ones(3), "b": np.full(3, 1.1)})
    trainers = {k: networks.Trainer(lambda k=k: k, lambda p: None) for k in (1.0, 1.1)}
    with pytest.raises(AssertionError, match="losses"):
        networks.check(trainers)


def test_the_peak_is_measured_with_and_without_a_compiler(monkeypatch):
    for _ in range(2):
        found = machine.peak(2)
        assert found.flops > 0
        found.run()
        monkeypatch.setattr(machine, "_compiled", lambda: None)
    assert "NumPy" in found.how


def test_a_layer_under_the_roof_is_lifted_to_it():
    machine_found = {"peak": 100.0, "bandwidth": 1e6}
    rows = [row(0.5) | {"gflops": 40.0}, row(1.5) | {"gflops": 90.0}]
    assert ceiling.ceilings(rows, machine_found, 0.8) == [1.0, 1.5]
    assert ceiling.ceilings(rows, machine_found | {"bandwidth": 1e-3}, 0.8) == [0.5, 1.5]
    assert ceiling.mean([1.0, 4.0]) == pytest.approx(2.0)


def test_pooling_at_the_roof_moves_its_numbers_once(capsys):
    """16 cells, 4 results, at 1 GB/s: 96 bytes forward with indices, 192 with the gradients."""
    found = {"peak": 1.0, "bandwidth": 1.0}
    pool = row(2.0) | {"layer": "pool N=1", "dims": "n1c1h4w4_r2x2_s2x2_p0x0_d1x1"}
    assert ceiling.shortest("numpy", pool, found, 1.0) == pytest.approx(80e-9)
    with_indices = pool | {"layer": "pool N=1, indices"}
    assert ceiling.shortest("numpy", with_indices, found, 1.0) == pytest.approx(96e-9)
    assert ceiling.shortest("pooling", pool, found, 1.0) == pytest.approx(192e-9)
    slow = pool | {"seconds": {"fastconv": 240e-9}}
    ceiling.print_each({"machine": {"1": found}, "sections": {"numpy": [slow]}}, 1.0)
    assert capsys.readouterr().out == "| max pooling, against NumPy | 1 | 2.00 | 6.00 |\n"


def test_a_layer_against_numpy_at_the_roof_makes_the_peak():
    layer = row(2.0) | {"dims": "n1c1h4w4_k1r1x1_s1x1_p0x0_d1x1_g1"}
    assert ceiling.shortest("numpy", layer, {"peak": 2.0, "bandwidth": 1e6}, 0.5) == 32e-9


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_the_micro_kernel_alone_is_right(monkeypatch):
    """(It would raise.)"""
    monkeypatch.setattr(ceiling, "ROUNDS", 1)
    assert set(ceiling.tile_shares()) == set(ceiling.DEPTHS)


def row(ratio, threads=1):
    dims = "n1c64h8w8_k64r3x3_s1x1_p1x1_d1x1_g1"
    return {"layer": "a", "dims": dims, "threads": threads, "ratio": ratio}


def test_what_is_below_its_target_is_bold():
    found = {"forward": [row(1.0), row(4.0), row(0.5, 2), row(8.0, 2)]}
    lines = report.verdicts(found).splitlines()
    assert lines[0] == "|  | at least | 1 thread | 2 threads |"
    assert lines[2].endswith("| 1.7 (1) | 2.00 (1.00) | 2.00 (**0.50**) |")
    assert lines[3].endswith("| 2.2 | **2.00** (1.00) | **2.00** (0.50) |")
    assert report.held(found) == "0 of 2 targets hold"
    assert report.held({"forward": [row(3.0)]}) == "2 of 2 targets hold"


@pytest.mark.parametrize("paper", report.PAPERS, ids=lambda p: p.name)
def test_the_papers_hold_the_saved_runs(paper):
    paths = sorted((ROOT / "bench" / "results").glob("*.json"))
    saved = versus.merged([json.loads(path.read_text()) for path in paths])
    text = paper.read_text()
    assert report.PLACE.search(text)
    assert report.filled(text, saved) == text, (
        "run python bench/versus.py --readme bench/results/*.json"
    )


def test_the_picture_is_drawn(untimed, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("torch")
    path = tmp_path / "roofline.png"
    arguments = ["forward", "--threads", "1", "--rounds", "1", "--layers", SMALL["forward"]]
    assert versus.main([*arguments, "--picture", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
