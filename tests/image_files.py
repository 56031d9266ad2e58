"""Tiny files of the formats in which sets of images come."""

import gzip

import numpy as np


def idx_of(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


def write_mnist(folder, counts=(20, 10), seed=0):
    rng, made = np.random.default_rng(seed), []
    for part, count in zip(("train", "t10k"), counts, strict=True):
        x, label = rng.integers(0, 256, (count, 5, 4)), np.arange(count) % 10
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_of(x))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_of(label)))
        made += [x, label]
    return made


def rows_of(x, *codes):
    """Rows of CIFAR's binary files."""
    table = [np.concatenate([*([c[i]] for c in codes), x[i].ravel()]) for i in range(len(x))]
    return np.array(table, np.uint8).tobytes()


def write_cifar10(folder, count=4, seed=0):
    rng, place = np.random.default_rng(seed), folder / "cifar-10-batches-bin"
    place.mkdir()
    made = [
        (rng.integers(0, 256, (count, 3, 32, 32)), np.arange(i, i + count) % 8) for i in range(6)
    ]
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for name, (x, label) in zip(names, made, strict=True):
        (place / name).write_bytes(rows_of(x, label))
    return made


def write_cifar100(folder, coarse, fine, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, (len(fine), 3, 32, 32))
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes(rows_of(x, coarse, fine))
    return x


def write_all(folder):
    """Files of all sets that are in files; the folder as text."""
    write_mnist(folder)
    write_cifar10(folder)
    write_cifar100(folder, [19, 0, 4], [99, 1, 50])
    return str(folder)
