#!/usr/bin/env python3
"""Makes tests/golden/tokenizers/: a small tokenizer.json of each family, made with Hugging Face's
`tokenizers`, and what that library gives for texts that are hard to tokenise.

    pip install tokenizers
    tests/golden/make_vocab.py tests/golden/tokenizers

writes texts.json, FAMILY/tokenizer.json, FAMILY/vectors.json and, for Llama 2's, scores.json (the same
vocabulary by scores, as GGUF files have it). unit/hf_tokens_test compares. For a vocabulary of one's own:

    tests/golden/make_vocab.py --of FOLDER [--random N SEED]

writes vectors.json into a folder that has a tokenizer.json, and texts.json beside that folder."""

import argparse
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.modules.setdefault("llama_cpp", type(sys)("llama_cpp"))  # only its texts are wanted
import make_tokens  # noqa: E402

SIGN = "▁"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

MORE = [
    "e\u0301 \u00e9 A\u030a \u212b \u1e9b\u0323 \uac00 \u1100\u1161 \u1100\u1161\u11a8",
    "o\u0323\u0302 o\u0302\u0323 a\u0315\u0300\u05ae\u0062",
    "\u0344 \u0958 \ufb1d \u2adc",
    "q\u0307\u0323q\u0323\u0307",
    "\U0001d15e \U0001d1bb\U0001d165",
    "👩\u200d❤️\u200d💋\u200d👨 🏳️\u200d🌈 🧑🏿\u200d🚀",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645\u064e\u064f",
    "ขอบคุณ ก็ดี",
    "a\u0300\u0301\u0302\u0303\u0304\u0305",
    "1٢३४五Ⅵ½ 12٣٤ 100\u00b2",
    "a\r\n\r\n\r\nb\r\rc\n\r\nd",
    "\u00a0\u00a0a\u00a0b\u00a0",
    "Donaudampfschifffahrtsgesellschaftskapitaen" * 3,
    "<|im_start|",
    "<|eot_id|><|eot_id",
    "<s>",
    "</s>",
    "<s>Hello",
    " <s> Hello </s> ",
    "a<s>b",
    "a <s>b</s>c <unk>",
    "<s><s></s>",
    "<0x0A> <0xFF> <0xe4>",
    "▁",
    "▁▁a ▁b",
    " ▁",
    "\u2581<s>",
    "  two  spaces  ",
    " one",
    "one ",
    "\\ud83d\\ude00 \\udfff",
    "\ud7ff\ue000",
    "𠀀𠮷野家 鬱龘",
    "ꙮ ᚠᛇᚻ ⵣ ߷ ܐ",
    "<bos>x<eos>",
    "<start_of_turn>user\nhi<end_of_turn>\n",
    "<tool_call>\n{\"name\": \"f\"}\n</tool_call>",
    "<|user|>  \n hi <|end|> \n\n<|assistant|> ok",
    "  <mask>  x <mask>y<mask> ",
    "word sword words word_ word. wordé wo\u0301rd word\u200dx",
    "\n\n\n\n\n",
    "\t\t",
    "'\u017fx '\u017f 'Sx 'LLx",
    "I'm you'RE we'Ll",
    "a\u0000b",
    "Ωσς ΌΣΟΣ İi ıI",
    "\u1e0b\u0323 \u0064\u0307\u0323",
    "x" * 300 + " " * 40 + "y",
    "user: hi\n\nassistant:",
    "\ufb03 \u2460 \u33a5",
]
VARIANTS = ("llama2_old", "phi3", "prefixed", "metaspace")  # one trait more than another: fewer texts
CORPUS = [
    "the quick brown fox jumps over the lazy dog and the other words of the world that are in it",
    "Hello world Hello there, hello user; it's what we're doing when they've gone, I'll say, he'd know",
    "int main(void) { return 0; } for (int i = 0; i < n; ++i) a[i] += b[i];",
    "1 22 333 4444 2024 100 1000 3.14 12 34",
    "Привет как дела мир привет мира",
    "你好 世界 你好 日本語 日本 世界",
    "café naïve été über Übung éé",
    "    indented\n        more\n\n\n\tand tabs\t\t",
]


LONGEST = 120  # characters of a text; the vectors are kept small


def texts():
    return MORE + [t for t in make_tokens.chosen() if len(t) <= LONGEST]


def trained(size, byte_level, setup, specials):
    """A BPE model: trained words and merges, then the family's own parts around it."""
    tok = Tokenizer(models.BPE())
    setup(tok)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=specials,
        show_progress=False,
        initial_alphabet=pre.ByteLevel.alphabet() if byte_level else [],
        limit_alphabet=1000 if byte_level else 70,
    )
    tok.train_from_iterator(CORPUS * 20 + make_tokens.chosen()[:60], trainer)
    return json.loads(tok.to_str())["model"]


def token(text, **flags):
    return AddedToken(text, normalized=flags.pop("normalized", False), **flags)


def byte_level(setup, specials, added=(), post=None, **model):
    base = trained(380, True, setup, specials)
    tok = Tokenizer(models.BPE(vocab=base["vocab"], merges=[tuple(m) for m in base["merges"]], **model))
    setup(tok)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = post(tok) if post else processors.ByteLevel(trim_offsets=False)
    tok.add_special_tokens([token(s) for s in specials])
    tok.add_tokens(list(added))
    return tok


def template(tok, bos, eos=None):
    ends = [t for t in (bos, eos) if t]
    single = (f"{bos} " if bos else "") + "$A" + (f" {eos}" if eos else "")
    return processors.TemplateProcessing(
        single=single, special_tokens=[(t, tok.token_to_id(t)) for t in ends]
    )


def gpt2_words(tok):
    tok.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)


def prefixed_words(tok):
    tok.pre_tokenizer = pre.ByteLevel(add_prefix_space=True)


def smollm_words(tok):
    tok.pre_tokenizer = pre.Sequence(
        [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)]
    )


def pattern_words(pattern, nfc=False):
    def setup(tok):
        if nfc:
            tok.normalizer = normalizers.NFC()
        tok.pre_tokenizer = pre.Sequence(
            [pre.Split(Regex(pattern), "isolated"), pre.ByteLevel(add_prefix_space=False, use_regex=False)]
        )

    return setup


def spaced_vocab(ends, byte_fallback=True, size=220):
    """Words over characters, scored by the order in which they were learnt, and every merge that two tokens
    of it allow: how SentencePiece's models become tokenizer.json."""

    def setup(tok):
        tok.normalizer = normalizers.Replace(" ", SIGN)

    base = trained(size, False, setup, [])
    words = sorted(base["vocab"], key=lambda w: (len(w) == 1, base["vocab"][w]))
    learnt = {m[0] + m[1]: i for i, m in reversed(list(enumerate(base["merges"])))}
    words = sorted((w for w in words if len(w) > 1), key=lambda w: learnt[w]) + [
        w for w in words if len(w) == 1
    ]
    pieces = ends + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    scores = [0.0] * len(pieces)
    pieces += words
    scores += [-float(i) for i in range(len(words))]
    vocab = {w: i for i, w in enumerate(pieces)}
    merges = []
    for i in range(len(pieces) - len(words), len(pieces)):
        piece = pieces[i]
        merges += [
            (scores[i], piece[:k], piece[k:])
            for k in range(1, len(piece))
            if piece[:k] in vocab and piece[k:] in vocab
        ]
    merges = [(a, b) for _, a, b in sorted(merges, key=lambda m: -m[0])]
    return vocab, merges, scores


def spaced(ends, around, byte_fallback=True, strip=True, post=None, added=()):
    vocab, merges, scores = spaced_vocab(ends, byte_fallback)
    tok = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback)
    )
    around(tok)
    if tok.decoder is None:
        steps = [decoders.Replace(SIGN, " "), decoders.ByteFallback(), decoders.Fuse()]
        tok.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))
    if post:
        tok.post_processor = post(tok)
    for t in added:
        if t.special:
            tok.add_special_tokens([t])
        else:
            tok.add_tokens([t])
    tok.scores = scores
    return tok


def llama2_around(tok):
    tok.normalizer = normalizers.Sequence([normalizers.Prepend(SIGN), normalizers.Replace(" ", SIGN)])


def metaspace_around(scheme, split, decoder=False):
    def around(tok):
        tok.pre_tokenizer = pre.Metaspace(replacement=SIGN, prepend_scheme=scheme, split=split)
        if decoder:
            tok.decoder = decoders.Metaspace(replacement=SIGN, prepend_scheme=scheme)

    return around


def gemma_around(tok):
    tok.normalizer = normalizers.Replace(" ", SIGN)
    tok.pre_tokenizer = pre.Split(" ", "merged_with_previous")


def special(text, **flags):
    return AddedToken(text, special=True, normalized=flags.pop("normalized", False), **flags)


def families():
    chat = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    llama3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    ends = ["<unk>", "<s>", "</s>"]
    signs = [special(t) for t in ends]
    yield "gpt2", byte_level(gpt2_words, ["<|endoftext|>"])
    yield "prefixed", byte_level(
        prefixed_words,
        ["<s>", "</s>"],
        [
            AddedToken("<mask>", lstrip=True, normalized=False, special=True),
            AddedToken("word", single_word=True, normalized=False),
        ],
        lambda t: template(t, "</s>", "<s>"),
    )
    yield "smollm", byte_level(smollm_words, chat, [token("<tool_call>"), token("</tool_call>")])
    yield "llama3", byte_level(
        pattern_words(LLAMA3),
        llama3,
        post=lambda t: processors.Sequence(
            [processors.ByteLevel(trim_offsets=True), template(t, "<|begin_of_text|>")]
        ),
        ignore_merges=True,
    )
    yield "qwen2", byte_level(
        pattern_words(QWEN2, nfc=True), chat, [token("<tool_call>"), token("</tool_call>")]
    )
    yield "llama2", spaced(ends, llama2_around, post=lambda t: template(t, "<s>"), added=signs)
    yield "llama2_old", spaced(
        ends,
        llama2_around,
        post=lambda t: template(t, "<s>"),
        added=[special(t, normalized=True) for t in ends] + [token("<mask>")],
    )
    yield "phi3", spaced(
        ends,
        llama2_around,
        added=signs + [special(t, rstrip=True) for t in ("<|user|>", "<|end|>", "<|assistant|>")],
    )
    yield "mistral", spaced(
        ends, metaspace_around("first", False), post=lambda t: template(t, "<s>", "</s>"), added=signs
    )
    yield "metaspace", spaced(
        ends, metaspace_around("always", True, decoder=True), byte_fallback=False, added=signs
    )
    gemma = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    yield "gemma", spaced(
        gemma,
        gemma_around,
        strip=False,
        post=lambda t: template(t, "<bos>"),
        added=[special(t) for t in gemma] + [token(t) for t in ("\n\n", "\n\n\n", SIGN * 2, "<b>")],
    )


def random_ids(tok, rng, count):
    """Sequences of ids, without those of bytes: invalid bytes are not replaced alike. Nor are there
    tokens that are looked for in normalized text: the library does not skip them as special ones."""
    odd = {i for i, t in tok.get_added_tokens_decoder().items() if t.normalized}
    ids = [i for i in range(tok.get_vocab_size()) if not (tok.id_to_token(i) or "<0x").startswith("<0x")]
    ids = [i for i in ids if i not in odd]
    for _ in range(count):
        yield [rng.choice(ids) for _ in range(rng.randint(1, 12))]


def vectors(tok, chosen, rng):
    """Per text: ids with special tokens parsed, without, with BOS and EOS; and the text that comes back."""
    out = []
    odd = {i for i, t in tok.get_added_tokens_decoder().items() if t.normalized}
    for text in chosen:
        tok.encode_special_tokens = True
        plain = tok.encode(text, add_special_tokens=False).ids
        tok.encode_special_tokens = False
        ids = tok.encode(text, add_special_tokens=False).ids
        full = tok.encode(text, add_special_tokens=True).ids
        entry = {"ids": ids}
        if plain != ids:
            entry["plain"] = plain
        around = next([full[:k], full[k + len(ids) :]] for k in range(3) if full[k : k + len(ids)] == ids)
        for key, skip in (("back", True), ("back_all", False)):
            back = tok.decode(ids, skip_special_tokens=skip)
            if odd & set(ids):
                entry[key] = None
            elif back != text:
                entry[key] = back
        out.append(entry)
    decoded = [
        {"ids": ids, "back": tok.decode(ids), "back_all": tok.decode(ids, skip_special_tokens=False)}
        for ids in random_ids(tok, rng, 40)
    ]
    return {"around": around, "texts": out, "decoded": decoded}


def write(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="where the families' folders go")
    parser.add_argument("--of", help="a folder with a tokenizer.json")
    parser.add_argument("--random", nargs=2, type=int, metavar=("N", "SEED"))
    args = parser.parse_args()

    chosen = list(make_tokens.random_texts(*args.random)) if args.random else texts()
    if args.of:
        tok = Tokenizer.from_file(os.path.join(args.of, "tokenizer.json"))
        write(os.path.join(args.of, "vectors.json"), vectors(tok, chosen, random.Random(1)))
        write(os.path.join(args.of, "..", "texts.json"), chosen)
        return
    write(os.path.join(args.folder, "texts.json"), chosen)
    for name, tok in families():
        to = os.path.join(args.folder, name)
        os.makedirs(to, exist_ok=True)
        write(os.path.join(to, "tokenizer.json"), json.loads(tok.to_str()))
        some = chosen[: len(MORE)] if name in VARIANTS else chosen
        write(os.path.join(to, "vectors.json"), vectors(tok, some, random.Random(1)))
        if hasattr(tok, "scores") and name == "llama2":
            write(os.path.join(to, "scores.json"), tok.scores)


if __name__ == "__main__":
    main()
