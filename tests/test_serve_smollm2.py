"""The real model behind the endpoint: answers of a cluster that grows meanwhile are those of transformers."""

import threading
from pathlib import Path

from engine_driver import reference, reference_model
from serving import Server, serving

from lambdascale.model.packed import PackedModel
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request, Sampling

QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Name three colours: ä, ö, 日.",
)
MAX_TOKENS = 12


def answer(server: Server, question: str, seed: int | None, streamed: bool) -> str:
    asked = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0.0 if seed is None else 1.0,
        "seed": seed,
    }
    with server.client() as client:
        if not streamed:
            return client.chat.completions.create(**asked).choices[0].message.content or ""
        with client.chat.completions.create(**asked, stream=True) as stream:
            return "".join(event.choices[0].delta.content or "" for event in stream)


def test_answers_of_a_growing_cluster_are_those_of_transformers(smollm2: PackedModel):
    tokenizer, model = Tokenizer(smollm2), reference_model(Path(smollm2.folder))
    asked = [
        (q, seed, streamed) for q in QUESTIONS for seed, streamed in ((None, True), (7, False))
    ]
    answers: dict[int, str] = {}
    with serving("smollm2-135m", "--nodes", 2, "--slots", 4, "--link-gbps", 5) as server:

        def ask(number: int) -> None:
            answers[number] = answer(server, *asked[number])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
    for number, (question, seed, _) in enumerate(asked):
        sampling = Sampling() if seed is None else Sampling(1.0, seed=seed)
        request = Request(0, tokenizer.encode_chat(question), MAX_TOKENS, sampling)
        tokens = reference(model, request)
        ends = [i for i, token in enumerate(tokens) if token in tokenizer.stop_ids]
        assert answers[number] == tokenizer.decode(tokens[: ends[0]] if ends else tokens)
