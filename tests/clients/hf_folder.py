#!/usr/bin/env python3
"""A folder that Hugging Face's transformers loads as a tokenizer, of what a GGUF file says of its own
(byte-level BPE whose digits stand alone, as SmolLM2's), so that clients need no hub:

  hf_folder.py FILE.gguf DIR         with the packages gguf and tokenizers"""

import json
import os
import sys

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

CONTROL = 3  # its kind in tokenizer.ggml.token_type


def main(path, folder):
    fields = GGUFReader(path).fields
    said = {k[len("tokenizer.") :]: f.contents() for k, f in fields.items() if k.startswith("tokenizer.")}
    if (said["ggml.model"], said["ggml.pre"]) != ("gpt2", "smollm"):
        sys.exit("hf_folder.py: %s: want a tokenizer of SmolLM's kind" % path)
    tokens = said["ggml.tokens"]
    merges = [tuple(m.split(" ", 1)) for m in said["ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    kinds = said["ggml.token_type"]
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, kinds) if kind == CONTROL]
    )
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(folder + "/tokenizer.json")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "bos_token": tokens[said["ggml.bos_token_id"]],
        "eos_token": tokens[said["ggml.eos_token_id"]],
        "chat_template": said["chat_template"],
    }
    with open(folder + "/tokenizer_config.json", "w") as f:
        json.dump(config, f)


if __name__ == "__main__":
    main(*sys.argv[1:])
