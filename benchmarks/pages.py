"""How large a page is, how soon it draws and how smoothly its slider moves, in a real browser.

    python benchmarks/pages.py [--runs 500] [--records 200] [--browser FILE]

Needs the extra `test` (playwright) and Chromium. What is drawn is a store's: random curves of four
measures over seeds and learning rates, as incompressible as those of SGD.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
from playwright.sync_api import sync_playwright

from cldyn import page

RATES, MEASURES = 10, ("loss", "class_gap", "subclass_gap", "distance")
# Frames while the slider goes through all records: the time between two of them.
SWEEP = """async () => {
  const slider = document.getElementById("time"), frames = [];
  let last = performance.now();
  for (let i = 0; i <= Number(slider.max); i++) {
    slider.value = i;
    slider.dispatchEvent(new Event("input"));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    frames.push(performance.now() - last);
    last = performance.now();
  }
  return frames;
}"""
VIEWS = {
    "medians": "",
    "single runs": "#lines=runs&colour=learning_rate&split=",
    "map at the slider": "#lines=runs&colour=learning_rate&split=&value=now&up=seed",
    "over learning rates": "#x=learning_rate&split=&colour=&value=now",
    "one run": "#run=7&value=now",
}


def sweep(runs: int, records: int) -> xr.Dataset:
    """Curves of random walks."""
    rng, seeds = np.random.default_rng(0), max(1, runs // RATES)
    shape = seeds, RATES, records
    walks = {
        name: (
            ("seed", "learning_rate", "step"),
            rng.normal(size=shape).cumsum(2).astype("float32"),
        )
        for name in MEASURES
    }
    last = np.full(shape[:2], records * 2, np.int32)
    coords = {
        "seed": np.arange(seeds),
        "learning_rate": np.geomspace(0.001, 0.1, RATES),
        "step": np.arange(records) * 2,
    }
    walks["finite_steps"] = ("seed", "learning_rate"), last
    return xr.Dataset(walks, coords)


def main() -> None:
    """Print sizes and times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--browser", default=shutil.which("chromium"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    begin = time.perf_counter()
    told = page.of_sweeps("benchmark", {"": sweep(given.runs, given.records)})
    made = time.perf_counter() - begin
    print(f"{given.runs} runs x {given.records} records x {len(MEASURES)} measures: "
          f"{len(told) / 1e6:.2f} MB, made in {made:.2f} s")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file = Path(folder, "page.html")
        file.write_text(told)
        options = ["--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=given.browser, args=options)
        for name, address in VIEWS.items():
            drawn, frames = [], []
            for _ in range(given.rounds):
                tab = browser.new_page(viewport={"width": 1400, "height": 900})
                begin = time.perf_counter()
                tab.goto(f"file://{file}{address}")
                tab.wait_for_selector("body[aria-busy=false]")
                tab.evaluate(
                    "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
                )
                drawn.append(time.perf_counter() - begin)
                frames += tab.evaluate(SWEEP)
                tab.close()
            slow = np.quantile(frames, 0.95)
            print(f"  {name}: drawn in {statistics.median(drawn):.2f} s ({min(drawn):.2f} .. "
                  f"{max(drawn):.2f}); slider {1000 / np.mean(frames):.0f} frames/s, "
                  f"95 % of frames in {slow:.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
