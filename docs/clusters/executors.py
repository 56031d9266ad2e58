"""A sweep whose blocks go to processes, by any `concurrent.futures.Executor`."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cldyn

EXPERIMENT = cldyn.Experiment(cldyn.Stored(cldyn.FeatureModel(d=30), n=16))
AXES = [{"seed": range(4), "data_seed": range(4)}, {"learning_rate": [0.02, 0.05]}]


def main(store="processes.zarr"):
    """Two processes share a store."""
    # Dask: Client("tcp://scheduler:8786").get_executor() in place of this one;
    # MPI: mpi4py.futures.MPIPoolExecutor(); Slurm: submitit's executor.
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        return cldyn.sweep(EXPERIMENT, AXES, [0, 20], store=store, executor=executor)


if __name__ == "__main__":
    print(main().recorded.values)
