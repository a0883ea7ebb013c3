"""Run the benchmarks, each in a process of its own, and keep their results.

python -m benchmarks              all of them
python -m benchmarks vit loop     some
python -m benchmarks trees --quick    one, with flags of its own
python -m benchmarks tree_peers RUN_FOLDER    the peers beside a run of trees
"""

import subprocess
import sys

NAMES = (
    "vit",
    "loop",
    "start",
    "trees",
    "sequence",
    "transport",
    "gan",
    "vq",
    "code_priors",
)


def main(args: list[str]) -> int:
    if args[:1] == ["tree_peers"]:
        return run(*args)
    place = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    chosen, flags = args[:place], args[place:]
    if flags and len(chosen) != 1:
        sys.stderr.write("error: flags need the name of one benchmark before them\n")
        return 2
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        sys.stderr.write(
            f"error: no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}\n"
        )
        return 2
    return max(run(name, *flags) for name in chosen or NAMES)


def run(name: str, *args: str) -> int:
    """Run one: settings of the C library and of JAX must come first in a process."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *args]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
