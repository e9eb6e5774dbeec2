#!/usr/bin/env python3
"""Makes tests/golden/tokens/smollm2.chats: conversations, one a line, with the token ids that transformers'
apply_chat_template gives them by the template and the vocabulary of the model file.

    tests/golden/make_chat_ids.py models/SmolLM2-135M-Instruct.Q4_1.gguf > tests/golden/tokens/smollm2.chats

unit/chat_ids_test compares them with ours. Needs transformers, gguf and torch."""

import json
import sys

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def tokenizer_of(path):
    fields = gguf.GGUFReader(path).fields
    texts = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    t = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(texts)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text, kind in zip(texts, kinds) if kind == 3]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=t)
    fast.chat_template = fields["tokenizer.chat_template"].contents()
    fast.bos_token = texts[fields["tokenizer.ggml.bos_token_id"].contents()]
    fast.eos_token = texts[fields["tokenizer.ggml.eos_token_id"].contents()]
    return fast


def say(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": roles[role], "content": content} for role, content in turns]


CHATS = [
    say(("u", "Hi")),
    say(("s", "Be brief."), ("u", "What is 12345 + 67?")),
    say(
        ("u", "Hi"),
        ("a", "Hello! How can I help?"),
        ("u", "  Two\n\nlines, \u00e4\u00f6\u00fc \u4f60\u597d \U0001f600 "),
    ),
    say(("s", "Be brief."), ("u", "a"), ("a", ""), ("u", "b\n"), ("a", "\n\nc"), ("u", "d")),
    say(("s", ""), ("u", "")),
    say(("u", "don't  we'll I'M\t\ttabs x = {'a': [1, 2]}; https://example.org/?q=1&r=%20")),
]


def main():
    t = tokenizer_of(sys.argv[1])
    for messages in CHATS:
        for opened in (True, False):
            ids = t.apply_chat_template(
                messages, tokenize=True, add_generation_prompt=opened, return_dict=False
            )
            print(json.dumps({"messages": messages, "open": opened, "ids": ids}))


main()
