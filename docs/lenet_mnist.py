"""LeNet-5 on all of MNIST, with augmentation and dropout: at least 99.3 % of the test digits.

    python docs/lenet_mnist.py mnist.npz

The file is Keras's mnist.npz, or a folder of IDX files.  A tenth of the training digits is
the validation part, which the curve shows; the test digits are measured once, at the end.
Ctrl-C ends the training; what it has learned so far is tested and kept.
"""

from __future__ import annotations

import argparse

import fastconv as fc
from fastconv.augment import Compose, Rotate, Shear, Stretch, Translate
from fastconv.callbacks import CosineLR


AUGMENT = Compose(Translate(2), Rotate(10), Stretch(0.1), Shear(5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", help="mnist.npz, or a folder of IDX files")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: as many as there are processors")
    parser.add_argument("--out", default="lenet-mnist.npz", help="where the weights go")
    options = parser.parse_args()
    if options.threads is not None:
        fc.set_num_threads(options.threads)

    (x, y), test = fc.datasets.mnist(options.path)
    held = len(x) // 10
    net = fc.models.lenet5(rng=options.seed, dropout=0.1)
    history = fc.fit(
        net,
        (x[held:], y[held:]),
        fc.SGD(net.parameters(), lr=0.05, momentum=0.9, l2=5e-4),
        epochs=options.epochs,
        batch_size=64,
        validation=(x[:held], y[:held]),
        callbacks=[CosineLR()],
        seed=options.seed,
        augment=AUGMENT,
        progress=True,
    )
    fc.save(net, options.out)
    right = fc.evaluate(net, test)[1]
    seconds = sum(history["seconds"])
    print(f"seed {options.seed}: {right:.2%} of {len(test[0])} test digits, ", end="")
    print(f"{len(history)} epochs in {seconds:.0f} s on {fc.get_num_threads()} threads")


if __name__ == "__main__":
    main()
