import atexit
import os
import shutil
import tempfile
from importlib.metadata import version

os.environ.pop("CLDYN_DATA", None)  # tests say where files are
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: threads that spin for each other's work slow all of them down. Most
    # of the suite's time is compiling programs that run for milliseconds: they need no optimizing.
    flags = (
        "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0"
        " --xla_llvm_disable_expensive_passes=true"
    )
    if version("jaxlib").startswith("0.10."):
        # The older emitters compile three times as fast; later versions have none. Fused
        # multiply-adds, which they place anew in every program, would give draws other low bits.
        flags += " --xla_cpu_use_fusion_emitters=false --xla_cpu_max_isa=AVX"
    os.environ |= {"XLA_FLAGS": flags, "OPENBLAS_NUM_THREADS": "1"}
elif "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # What one worker, notebook or child process has compiled, the others load: for this run only.
    programs = tempfile.mkdtemp(prefix="cldyn-programs-")
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": programs,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
    }

import gc

import jax
import pytest
from browser import CHROMIUM, OPTIONS, Reader
from hypothesis import HealthCheck, settings

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_matmul_precision", "highest")
settings.register_profile(
    "cldyn",
    deadline=None,
    derandomize=True,
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("cldyn")


@pytest.fixture(scope="module", autouse=True)
def forgotten_programs():
    """Compiled programs of a file are freed: a process may hold so many before XLA crashes."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture
def read(browser):
    """Open files as a reader; in the end nothing was complained of, and nothing left the page."""
    readers = []

    def opened(file, address="", **look):
        readers.append(Reader(browser, file, address, **look))
        return readers[-1]

    yield opened
    for reader in readers:
        reader.context.close()
        assert not reader.said
        assert {url.partition("#")[0][:5] for url in reader.asked} <= {"file:", "about", "blob:"}
        assert len({url.partition("#")[0] for url in reader.asked if url.startswith("file")}) == 1
