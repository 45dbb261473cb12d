"""What comparing the texts of an ensemble costs, beside scikit-learn's cosines alone.

    python benchmarks/speed/ensemble_texts.py              25 members, 100 prompts, 50 samples
    python benchmarks/speed/ensemble_texts.py --prompts 5 --part 2

Answers are drawn from 3,000 made-up words by Zipf's law, a third of them from the prompt's own
forty; --words says how long they are. ringtest gives similarities, null, shares and copied runs;
scikit-learn the means of its cosine_similarity of the same hashed n-grams, on --part of the
prompts, scaled up. Every figure comes from a process of its own: seconds of the clock and of all
cores, and the growth of peak memory; medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import numpy as np
from cost import apart, cost
from threadpoolctl import threadpool_limits

from ringtest.ensembles import texts

BY = ("ringtest", "scikit-learn")
Answers = list[list[list[str]]]


def answers(members: int, prompts: int, samples: int, length: int) -> Answers:
    rng = np.random.default_rng(0)
    letters = list("etaoinshrdlucmfw")
    pool = np.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(3_000)])
    zipf = 1 / np.arange(1, pool.size + 1)
    made: Answers = [[[] for _ in range(prompts)] for _ in range(members)]
    for p in range(prompts):
        drawn = rng.choice(pool.size, (members, samples, length), p=zipf / zipf.sum())
        own = rng.choice(rng.choice(pool.size, 40), drawn.shape)
        words = pool[np.where(rng.random(drawn.shape) < 1 / 3, own, drawn)]
        for m in range(members):
            made[m][p] = [" ".join(text) for text in words[m]]
    return made


def with_ringtest(made: Answers) -> float:
    return texts.diversity(made).similarity.between.value


def with_sklearn(made: Answers) -> float:
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    hashing = HashingVectorizer(
        analyzer="char", ngram_range=(3, 5), n_features=1 << 14, dtype=np.float32
    )
    values = []
    for p in range(len(made[0])):
        rows = hashing.transform([f" {text} " for of in made for text in of[p]])
        similarity = cosine_similarity(rows, dense_output=False).toarray()
        code = np.repeat(np.arange(len(made)), [len(of[p]) for of in made])
        values.append(similarity[code[:, None] != code].mean())
    return float(np.mean(values))


def child(name: str, sizes: list[int], part: int, threads: int) -> dict[str, Any]:
    run = {"ringtest": with_ringtest, "scikit-learn": with_sklearn}[name]
    made = answers(*sizes)
    prompts = sizes[1] if name == "ringtest" else min(part, sizes[1])
    given = [of[:prompts] for of in made]
    with threadpool_limits(threads):
        value, spent = cost(lambda: run(given))
    scale = sizes[1] / prompts
    return {
        "seconds": spent["seconds"] * scale,
        "work": spent["work"] * scale,
        "mb": spent["mb"],
        "value": value,
        "letters": float(np.mean([len(t) for of in given for p in of for t in p])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=25)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--words", type=int, nargs="+", default=[20, 60])
    parser.add_argument("--part", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=7, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *sizes = options.child
        *shape, part, threads = map(int, sizes)
        print(json.dumps(child(name, shape, part, threads)))
        return
    print("| letters an answer | by | seconds | of all cores | peak growth, MB | mean between |")
    print("|---|---|---|---|---|---|")
    for length in options.words:
        for name in BY:
            sizes = (options.members, options.prompts, options.samples, length)
            rounds = [
                apart(__file__, name, *sizes, options.part, options.threads)
                for _ in range(options.rounds)
            ]
            middle = {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}
            print(
                f"| {middle['letters']:.0f} | {name} | {middle['seconds']:.1f} "
                f"| {middle['work']:.1f} | {middle['mb']:.0f} | {middle['value']:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
