"""What the benchmark scripts share: the rivals' virtual environment, interleaved rounds, medians, the machine."""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-bench"
VERTEBRA = ROOT / "target" / "release" / "vertebra"


def options(description):
    """The options that every comparison has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=positive, default=3, help="processes per contender (default: 3)")
    parser.add_argument("--workers", type=positive, default=2, help="cores, and threads or workers of each contender")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="only contenders whose name has one of these")
    parser.add_argument("--program", type=Path, default=VERTEBRA, help="vertebra (default: target/release/vertebra)")
    parser.add_argument("--venv", type=Path, default=VENV, help="the rivals' environment (default: .venv-bench)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement to FILE")
    return parser


def python_with(venv, requirements):
    """The Python of `venv`, made and filled where the pinned `requirements` are not all there."""
    python = venv.absolute() / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    found = versions(python, [name(one) for one in requirements])
    missing = [one for one in requirements if found[name(one)] != one.partition("==")[2]]
    if missing:
        print(f"installing {' '.join(missing)} into {venv}", file=sys.stderr)
        # All of them, so that what comes with one does not replace another.
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    return python


def versions(python, packages):
    """The installed version of each package, None for those that are absent."""
    script = (
        "import json, sys\n"
        "from importlib import metadata\n"
        "plain = lambda name: name.lower().replace('_', '-')\n"
        "found = {plain(d.metadata['Name']): d.version for d in metadata.distributions() if d.metadata['Name']}\n"
        "print(json.dumps({name: found.get(plain(name)) for name in sys.argv[1:]}))"
    )
    return json.loads(subprocess.run([python, "-c", script, *packages], capture_output=True, check=True).stdout)


def name(requirement):
    return requirement.partition("==")[0]


# ---- rounds ---------------------------------------------------------------------------------------------------------


def use_cores(count):
    """Keeps this process, and so every contender, on the first `count` of its cores."""
    with contextlib.suppress(AttributeError):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def measured(title, contenders, rounds):
    """Runs every contender once per round, odd rounds in reverse order, so that a slow minute of the machine hits
    everyone. Returns each one's list of figures; one that fails is not run again, and has its `failure` instead."""
    results = {contender: {"runs": []} for contender in contenders}
    for round_ in range(rounds):
        for contender in list(contenders) if round_ % 2 == 0 else list(contenders)[::-1]:
            entry = results[contender]
            if "failure" in entry:
                continue
            print(f"{title}: round {round_ + 1} of {rounds}, {contender}", file=sys.stderr)
            try:
                entry["runs"].append(contenders[contender]())
            except RuntimeError as failure:
                entry["failure"] = str(failure)
                print(f"  failed: {failure}", file=sys.stderr)
    return results


def run(command, limit=1800):
    """The standard output of a command; RuntimeError with its error line, or its last one, where it fails."""
    try:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=limit
        )
    except FileNotFoundError:
        raise RuntimeError(f"{command[0]} does not exist; build it with `cargo build --release`") from None
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not finished after {limit} s") from None
    if done.returncode != 0:
        raise RuntimeError(complaint(done.stderr) or f"exit code {done.returncode}")
    return done.stdout


def run_json(command):
    """The JSON object that a command prints last."""
    said = run(command)
    try:
        return json.loads(next(line for line in said.splitlines()[::-1] if line.startswith("{")))
    except (StopIteration, ValueError):
        raise RuntimeError(f"expected one JSON object, found {said[-200:]!r}") from None


def environment():
    """This process's variables, less those that choose OpenBLAS's kernels by hand: its own choice is faster."""
    return {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}


def complaint(said):
    """What a program that failed said of it: its error line, or else its last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines[-1:] or [None])[0]


def spread(runs, field):
    """Median, lowest and highest of a field over runs; None where no run has it."""
    values = [one[field] for one in runs if one.get(field) is not None]
    return (statistics.median(values), min(values), max(values)) if values else None


def table(head, rows):
    """A Markdown table: the first column to the left, the others to the right."""
    print("| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def figure(spread, digits=1):
    """`median (lowest - highest)`."""
    if spread is None:
        return ""
    median, low, high = (f"{value:.{digits}f}" for value in spread)
    return f"{median} ({low} - {high})"


def ratio(numerator, denominator):
    return f"{numerator[0] / denominator[0]:.2f}" if numerator and denominator and denominator[0] else ""


# ---- the record -----------------------------------------------------------------------------------------------------


def record(setting, packages, results):
    """Everything that a figure has to come with."""
    return {
        "machine": {"processor": processor(), "cores": cores(), "system": platform.platform()},
        "commit": commit(),
        "packages": packages,
        "setting": setting,
        "results": results,
    }


def commit():
    """The checkout's commit, with `-dirty` where tracked files are changed."""
    git = ["git", "-C", ROOT, "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or None


def cores():
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)
