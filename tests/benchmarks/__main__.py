"""`make bench`: every benchmark in turn, each printing ratios against a named floor or peer of the same run."""

import importlib
import sys
import time
from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))


def main(words: list[str]) -> int:
    for name in words or NAMES:
        print(f"\n== {name.removeprefix('bench_')} ==", flush=True)
        began = time.perf_counter()
        importlib.import_module(f"tests.benchmarks.{name}").main()
        print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
