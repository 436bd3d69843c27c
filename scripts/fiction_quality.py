"""Measures the generated fiction: how much it repeats itself, how fast it comes, and whether every answer is right.

    python scripts/fiction_quality.py --tokens 1M --seed 0 --tokenizer tokenizer.json --questions 10000

Prints a table, then one line of JSON. Without a tokenizer, tokens are words and marks, and the
figures that need real tokens are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import random
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longctx.fiction.checker import answerable_from, check
from longctx.fiction.questions import ask
from longctx.fiction.story import Story
from longctx.lengths import parse_length

_GRAM = 8
_CHUNK = 2000
_WINDOW = 64 << 20
_POINTS = 20


def repeated_share(ids: NDArray[np.int64]) -> float:
    """Share of 8-grams that are not the first of their kind."""
    if len(ids) < _GRAM:
        return 0.0
    # A polynomial hash of each 8-gram in 64 bits: a chance match among 10M is one in 300,000.
    hashes = np.zeros(len(ids) - _GRAM + 1, dtype=np.uint64)
    spread = np.random.default_rng(0).integers(1, 2**63, int(ids.max()) + 1, dtype=np.uint64)
    for place in range(_GRAM):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + spread[ids[place : len(hashes) + place]]
    return 1 - len(np.unique(hashes)) / len(hashes)


def numbered(words: Iterable[str]) -> NDArray[np.int64]:
    """Each word as the number of its type."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), dtype=np.int64)


def tell(
    seed: int, num_tokens: int, tokenizer: Path | None
) -> tuple[Story, list[str], NDArray[np.int64] | None, float]:
    """The story as far as that many tokens, its passages, its token ids, and the seconds for the text alone."""
    story, texts, ids, count, seconds = Story(seed), list[str](), list[NDArray[np.int64]](), 0, 0.0
    model = None
    if tokenizer is not None:
        from tokenizers import Tokenizer

        model = Tokenizer.from_file(str(tokenizer))
    while count < num_tokens:
        start = time.process_time()
        chunk = [passage.text for passage in itertools.islice(story, _CHUNK)]
        seconds += time.process_time() - start
        texts += chunk
        if model is None:
            count += sum(len(re.findall(r"\w+|[^\w\s]", text)) for text in chunk)
            continue
        for encoded in model.encode_batch_fast([f" {text}" for text in chunk]):
            ids.append(np.array(encoded.ids, dtype=np.int64))
            count += len(encoded.ids)
    return story, texts, np.concatenate(ids)[:num_tokens] if ids else None, seconds


def commonest(words: list[str], number: int) -> list[tuple[str, int]]:
    """The commonest 8-grams of words."""
    grams = Counter(zip(*(words[place:] for place in range(_GRAM)), strict=False))
    return [(" ".join(gram), count) for gram, count in grams.most_common(number)]


def check_questions(story: Story, number: int, seed: int) -> dict[str, object]:
    """Asks that many questions at several points of the story; counts those that the checker answers otherwise."""
    rng = random.Random(seed)
    by_hops: Counter[int] = Counter()
    by_kind: Counter[str] = Counter()
    wrong = 0
    slowest = 0.0
    for point in range(1, _POINTS + 1):
        num_events = len(story.log) * point // _POINTS
        for _ in range(number // _POINTS):
            start = time.perf_counter()
            question = ask(story.log, num_events, rng, near=rng.randrange(num_events) if rng.random() < 0.5 else None)
            if by_kind:
                slowest = max(slowest, time.perf_counter() - start)
            if question is None:
                continue
            by_hops[question.hops] += 1
            by_kind[question.kind] += 1
            try:
                answers = {check(story.log, num_events, question), answerable_from(story.log, question)}
            except ValueError as error:
                print(error)
                answers = set()
            wrong += answers != {question.answer} or question.answer not in question.candidates
    return {
        "questions": sum(by_kind.values()),
        "wrong": wrong,
        "slowest_s": round(slowest, 4),
        "hops": dict(sorted(by_hops.items())),
        "kinds": dict(sorted(by_kind.items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=parse_length, default=parse_length("1M"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json")
    parser.add_argument("--questions", type=int, default=0)
    parser.add_argument("--top", type=int, default=10, help="how many of the commonest 8-grams to list")
    options = parser.parse_args()

    story, texts, ids, seconds = tell(options.seed, options.tokens, options.tokenizer)
    text = " ".join(texts)
    words = re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower())
    raw = text.encode()
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": _WINDOW}]
    figures: dict[str, object] = {
        "seed": options.seed,
        "words": len(words),
        "word_types": len(set(words)),
        "rep8_words": round(repeated_share(numbered(words)), 5),
        "xz": round(len(lzma.compress(raw, format=lzma.FORMAT_XZ, filters=filters)) / len(raw), 4),
        "passages": len(texts),
        "events": len(story.log),
        "text_cpu_s": round(seconds, 2),
    }
    if ids is not None:
        figures |= {"tokens": len(ids), "rep8": round(repeated_share(ids), 5)}
        figures["tokens_per_cpu_s"] = round(len(ids) / seconds)
    if options.questions:
        figures |= check_questions(story, options.questions, options.seed)
    for name, value in figures.items():
        print(f"{name:>18}  {value}")
    for gram, count in commonest(words, options.top):
        print(f"{count:>18}  {gram}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
