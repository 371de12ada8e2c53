"""Turns a GGUF file into a Hugging Face folder: dequantised once, stored as bfloat16 safetensors.

Run as `python -m lambdascale.model.gguf FILE FOLDER`: a process of its own, because the libraries that
read GGUF print progress bars and hold the model twice. Offline; no hub is asked.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint


def convert(source: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer with its chat template to `folder`."""
    where = {"gguf_file": source.name, "local_files_only": True}
    config = AutoConfig.from_pretrained(source.parent, **where)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(model).__name__]
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, **where).save_pretrained(folder)
    loaded = load_gguf_checkpoint(str(source), return_tensors=True, model_to_load=model)
    weights = {k: v.to(torch.bfloat16).contiguous() for k, v in loaded["tensors"].items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    torch.set_num_threads(1)
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
