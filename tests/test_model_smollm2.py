"""The catalogued model is real: from its packed image it answers a question."""

import mmap

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lambdascale.model.text import Tokenizer


@pytest.fixture(scope="module")
def model(smollm2):
    """The model of transformers whose parameters are views of the image file."""
    config = AutoConfig.from_pretrained(smollm2.folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with smollm2.image.open("rb") as file:
        image = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    views = {
        t.name: torch.frombuffer(
            image, dtype=torch.float32, count=t.nbytes // 4, offset=t.offset
        ).view(t.shape)
        for t in smollm2.layout.tensors
    }
    missing, unexpected = model.load_state_dict(views, strict=False, assign=True)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


def test_the_packed_model_knows_the_capital_of_france(model, smollm2):
    tokenizer = Tokenizer(smollm2)
    prompt = torch.tensor([tokenizer.encode_chat("What is the capital of France?")])
    ids = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=32,
        do_sample=False,
        eos_token_id=list(tokenizer.stop_ids),
    )
    answer = ids[0, prompt.shape[1] :].tolist()
    assert tokenizer.decode(answer) == "The capital of France is Paris."
    assert answer[-1] in tokenizer.stop_ids


def test_the_image_is_the_whole_model_and_nothing_twice(smollm2):
    shape = smollm2.shape
    assert (shape.num_layers, shape.hidden, shape.tied) == (30, 576, True)
    assert smollm2.layout.nbytes == 134_515_008 * 4
    assert smollm2.image.stat().st_size == smollm2.layout.nbytes
