"""The command line of an experiment: flags from a dataclass, errors in one line."""

import _thread
import contextlib
import dataclasses
import io
import itertools
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import tyro

from jaxlab.core.compilation import use_compilation_cache
from jaxlab.core.distributed import connect
from jaxlab.core.errors import InputError, local_path
from jaxlab.core.host_memory import keep_freed_memory
from jaxlab.core.mesh import use_cpu_devices
from jaxlab.core.ranges import check_fields
from jaxlab.runs.interrupts import Interrupted
from jaxlab.train.loop import NonFiniteError

__all__ = ["launch", "parse"]

C = TypeVar("C")

# By flag, what other programs call it; and what is different here.
_OTHER_NAMES = {
    "batch_size": ("batch", "batchsize", "bs"),
    "data": ("dataset", "data_path", "input"),
    "depth": ("layers", "num_layers", "n_layers"),
    "dropout_rate": ("dropout",),
    "learning_rate": ("lr", "eta", "alpha"),
    "mesh": ("gpu", "gpus", "device", "devices", "cuda"),
    "num_heads": ("heads", "n_heads", "nhead"),
    "precision": ("fp16", "bf16", "amp", "dtype"),
    "run_dir": ("output", "output_dir", "out", "logdir", "resume"),
    "steps": ("epochs", "epoch", "iterations", "iters", "num_rounds", "n_estimators"),
    "stream_workers": ("workers", "num_workers"),
    "warmup_rate": ("warmup", "warmup_steps"),
    "weight_decay": ("wd", "decay"),
    "width": ("dim", "d_model", "hidden_size", "channels"),
}
_DIFFERENT = {
    "mesh": " (devices by axis, as data=2)",
    "steps": " (updates, not epochs)",
    "warmup_rate": " (a share of the steps)",
}


def launch(
    main: Callable[[C], Any],
    config: C,
    *,
    smoke: C,
    recipes: Mapping[str, C] | None = None,
    by_data: Mapping[str, str] | None = None,
    description: str = "",
) -> None:
    """Run an experiment from the command line.

    Flags are the fields of the configuration; see `parse`. Starts the compilation
    cache, keeps freed memory, splits a CPU into virtual devices and, where asked for,
    joins other processes. What the user can mend is told in one line, with exit code 2;
    a stopped run ends with 128 + the signal's number, a run that diverged with 1.

    Args:
        main: Takes the configuration.
        config: The defaults; its field `run` is a `RunOptions`.
        smoke: What `--smoke` starts from.
        recipes: Other defaults, by the name that `--recipe` chooses them with.
        by_data: The recipe of each value of `--data`, where no `--recipe` is given; see
            `parse`.
        description: Text above the flags in `--help`; its first line is the title.
    """
    with _lost_interrupts_again(), _told_in_one_line():
        chosen = parse(
            config,
            smoke=smoke,
            recipes=recipes,
            by_data=by_data,
            program=_command(main),
            description=description,
        )
        check_fields(chosen)
        options = chosen.run  # type: ignore[attr-defined]
        for name in ("run_dir", "data_dir"):  # told before data are read
            local_path(name, getattr(options, name))
        keep_freed_memory()
        use_compilation_cache()
        if not options.distributed:  # else one device a process
            use_cpu_devices(options.mesh)
        connect(options.distributed)
        main(chosen)


@contextlib.contextmanager
def _told_in_one_line() -> Iterator[None]:
    """End the process with one line for what the user can mend, or asked for."""
    try:
        yield
    except InputError as error:
        _fail(str(error), 2)
    except NonFiniteError as error:
        _fail(str(error), 1)
    except Interrupted as stop:
        _fail(str(stop), 128 + stop.signum, kind="")
    except KeyboardInterrupt:
        _stop_at_once()


@contextlib.contextmanager
def _lost_interrupts_again() -> Iterator[None]:
    """Raise a Ctrl-C again that came in a callback from C, where it is but printed."""
    earlier = sys.unraisablehook

    def hook(lost: Any) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):  # here it would be lost again
            threading.Timer(0.01, _thread.interrupt_main).start()
        else:
            earlier(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        if sys.unraisablehook is hook:  # else one that was set over it stays
            sys.unraisablehook = earlier


def parse(
    config: C,
    *,
    smoke: C,
    recipes: Mapping[str, C] | None = None,
    by_data: Mapping[str, str] | None = None,
    program: str = "",
    description: str = "",
    args: list[str] | None = None,
) -> C:
    """Read a configuration from command-line flags.

    Args:
        config: The defaults.
        smoke: The defaults under `--smoke`.
        recipes: The defaults under `--recipe NAME`, by name.
        by_data: The recipe of a value of `--data` where no `--recipe` is given; `*` is
            that of any other value. By default data choose the recipe of their name.
        program: How the program is called.
        description: Text above the flags in `--help`.
        args: The flags; by default, the process's.

    Returns:
        The defaults, changed by the flags.
    """
    args = list(sys.argv[1:] if args is None else args)
    recipes = dict(recipes or {})
    by_data = {name: name for name in recipes} if by_data is None else by_data
    named, _ = _split_off("--data", args)
    chosen, args = _split_off("--recipe", args)
    if None in chosen:
        _fail("--recipe needs a value; --help lists all flags", 2)
    data = named[-1] if named else None
    recipe = chosen[-1] if chosen else None
    is_smoke = "--smoke" in args
    args = [arg for arg in args if arg != "--smoke"]
    if recipe is not None and is_smoke:
        _fail("--recipe and --smoke are both a start; give one of them", 2)
    if recipe is None and data is not None:
        recipe = by_data.get(data, by_data.get("*"))
    elif recipe is not None and recipe not in recipes:
        known = ", ".join(recipes) or "none"
        _fail(f"--recipe {recipe!r} is not known; this experiment has: {known}", 2)
    default = smoke if is_smoke else config if recipe is None else recipes[recipe]
    hint = "--smoke starts from a tiny run of seconds instead."
    if recipes:
        hint += (
            f" --recipe {' | '.join(recipes)}: other settings, which --help after it "
            "shows. --data chooses a recipe too."
        )
    # Single line breaks are lost in the help: give commands a paragraph each.
    text = re.sub(r"\n+ *(?=python )", "\n\n", description.strip())
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            return tyro.cli(
                type(config),
                prog=program,
                description=f"{text}\n\n{hint}",
                default=default,
                args=args,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        _fail(_one_line(output.getvalue(), _known_elsewhere(config, args)), 2)


def _split_off(flag: str, args: list[str]) -> tuple[list[str | None], list[str]]:
    """Return what follows a flag each time, None where nothing does, and the rest."""
    values: list[str | None] = []
    rest, following = [], iter(args)
    for arg in following:
        name, is_joined, value = arg.partition("=")
        if name == flag:
            values.append(value if is_joined else next(following, None))
        else:
            rest.append(arg)
    return values, rest


def _known_elsewhere(config: Any, args: list[str]) -> str:
    """Return the flag for the first one that has the name of another program's."""
    fields = dataclasses.asdict(config)
    for name in [name for name, value in fields.items() if isinstance(value, dict)]:
        fields |= fields[name]
    for arg in args:
        name = arg.partition("=")[0].removeprefix("--").replace("-", "_")
        if arg.startswith("--") and name not in fields:
            for here, names in _OTHER_NAMES.items():
                if name in names and here in fields:
                    return f"--{here.replace('_', '-')}{_DIFFERENT.get(here, '')}"
    return ""


def _one_line(box: str, meant: str = "") -> str:
    """Flatten tyro's box: the paragraph after its title, and what may have been meant.

    The box is drawn in plain characters where the terminal knows no others.
    """
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    lines = ["" if re.fullmatch("[╰╯─-]+", line) else line for line in lines]
    paragraph = itertools.takewhile(bool, itertools.dropwhile(lambda s: not s, lines))
    message = " ".join(paragraph) or "the flags cannot be read"
    if not meant and (found := re.search(r"Perhaps you meant:[\s│]*(--\S+)", box)):
        meant = found.group(1)
    hint = f"; did you mean {meant}?" if meant else ""
    return f"{message.rstrip('.')}{hint}; --help lists all flags"


def _fail(message: str, code: int, kind: str = "error: ") -> NoReturn:
    # What was typed is a part of it, and may have ends of lines, or bytes of no text.
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in message
    )
    sys.stderr.write(f"{kind}{shown}\n")
    sys.exit(code)


def _stop_at_once() -> NoReturn:
    """End the process though threads of it still write a checkpoint."""
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.write("stopped at once; checkpoints that were saved are whole\n")
    sys.stderr.flush()
    os._exit(130)  # an ordinary exit waits for the threads


def _command(main: Callable[..., Any]) -> str:
    """Return how an experiment is started."""
    module = sys.modules[main.__module__]
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return f"python -m {spec.name}"
    file = getattr(module, "__file__", None)
    return f"python {file}" if file else f"python -m {main.__module__}"
