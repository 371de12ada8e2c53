"""Short questions of different lengths, for experiments whose subject is not what is asked."""

from itertools import cycle, islice

QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Name three things that a gardener needs in spring.",
    "Write one sentence about the sea.",
    "How many minutes are there in two hours and a half?",
    "What do bees make?",
    "Explain in a few words what a library is for, to a child who has never seen one.",
    "Which planet is closest to the sun?",
    "Give me a short recipe for tomato soup.",
    "Translate 'good morning' into Spanish.",
    "What is the opposite of cold?",
    "Tell me about the first people who sailed around the whole world, and how long it took.",
    "What is water made of?",
    "Suggest a name for a grey cat.",
    "Who wrote Romeo and Juliet, and when was it first performed?",
    "What is a prime number?",
    "How does a bicycle stay upright?",
    "List the seasons of the year.",
    "What is the largest animal that has ever lived?",
    "Finish this sentence: The train was late, so we",
    "Why do we sleep?",
    "What is the difference between weather and climate?",
    "Describe a rainy afternoon in a small town by the river, in the voice of an old fisherman.",
    "What is seven times eight?",
)


def questions(num: int) -> tuple[str, ...]:
    """Return `num` questions, over and over if there are fewer.

    >>> questions(2)
    ('What is the capital of France?', 'Why is the sky blue?')
    """
    return tuple(islice(cycle(QUESTIONS), num))
