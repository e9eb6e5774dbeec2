#!/usr/bin/env python3
"""Makes tests/golden/tokens/smollm2.*: texts that are hard to tokenise, and the ids that llama.cpp gives
them.

    pip install llama-cpp-python
    tests/golden/make_tokens.py models/SmolLM2-135M-Instruct.Q4_1.gguf tests/golden/tokens/smollm2

writes smollm2.texts (a separator line after each text), smollm2.ids (one line for each, special tokens as
text) and smollm2.special.ids (special tokens parsed). unit/tokens_test compares them with what the tokenizer
gives. With --random N SEED the texts are N random ones instead, to look for differences that nobody thought
of."""

import argparse
import random

import llama_cpp

SEPARATOR = b"\n__ggml_vocab_test__\n"

WORDS = [
    "",
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\n\n\n",
    "\t\n",
    "\r\n",
    "\r\n\r\n",
    " \n",
    "\n ",
    " \n \n",
    "\u00a0",
    "\u3000",
    "\u0085",
    "a\u0085b",
    "\u2028\u2029",
    "\u180e",
    "a\u180eb \u180e c",
    "\u200b",
    "a\u200bb",
    "\ufeff",
    "\ufeffbom",
    "x\u00a0y\u00a0 z",
    "a\u3000\u3000b",
    "Hello world",
    " Hello world",
    "Hello World",
    " Hello World!",
    "Hello, world!",
    "  Hello",
    "   Hello",
    "    Hello\n    Hello",
    "Hello  world   again    and\tagain\t\tand\n\nagain",
    "trailing ",
    "trailing  ",
    "trailing\n",
    "trailing \n\n  ",
    "HELLO WORLD",
    "hElLo",
    "camelCaseWord snake_case_word kebab-case-word",
    "supercalifragilisticexpialidocious",
]
CONTRACTIONS = [
    "it's we're they've I'm he'll she'd can't",
    "IT'S WE'RE THEY'VE I'M HE'LL SHE'D CAN'T",
    "'s't're've'm'll'd",
    "' s ' t",
    "''s",
    "'",
    "''",
    "' era",
    "o'clock rock'n'roll y'all'd've",
    "it’s we’re",
    "'S'T'RE",
    "'\u017f",
    "x'sx'tx'llx",
]
NUMBERS = [
    "0",
    "3",
    "33",
    "333",
    "3333",
    "33333",
    "333333",
    "3333333",
    "12345678901234567890",
    "3.14159",
    "-1e-10",
    "1,000,000.00",
    "0x1F",
    "2024-11-21T10:00:00Z",
    "٣٤٥",
    "१२३",
    "½ ¼ ¾",
    "²³¹",
    "Ⅷ ⅻ",
    "①②③",
    "一二三",
    "1a2b3c",
    "a1 b22 c333",
    " 1 22  333",
    "v1.2.3-rc4+5",
    "🄋",
    "𝟙𝟚𝟛",
    "1\u00a02",
]
SYMBOLS = [
    "!!!!!!",
    "...",
    "…",
    "?!?!",
    " !",
    "! !",
    "()[]{}<>",
    "((((",
    "a+b=c",
    "a==b&&c||!d",
    "<=>",
    "-->",
    "=>",
    "::",
    "@#$%^&*",
    "~`|\\/",
    "\"quoted\" 'single'",
    "«guillemets» „German“ 「日本」",
    "— – - −",
    "€100 £5 ¥7 $3",
    "§ ¶ † ‡",
    "™®©",
    "°C",
    "→←↑↓",
    "∀x∈ℝ: x²≥0",
    "∫₀^∞ e^{-x} dx",
    " (\n =",
    "#!/bin/sh",
]
CODE = [
    "int main(void) {\n    return 0;\n}\n",
    "def f(x):\n\treturn x**2  # square\n",
    "for (int i = 0; i < n; ++i) a[i] += b[i];",
    "SELECT * FROM t WHERE id = 'x''y';",
    "{\"key\": [1, 2.5, null, true], \"s\": \"\\u00e9\\n\"}",
    "<div class=\"a b\">&nbsp;</div>",
    "https://example.com/a/b?c=d&e=%20f#g",
    "user@example.com",
    "C:\\Users\\x\\y.txt",
    "$\\frac{a}{b}$",
    "    if x:\n        y()\n\n\n    else:\n        z()",
    "w048 7tuijk dsdfhu",
    "0xDEADBEEF ^ ~0u >> 3",
    "\\x00\\n\\t",
    "```c\nx\n```",
    "| a | b |\n|---|---|\n| 1 | 2 |",
]
SCRIPTS = [
    "нещо на Български",
    "Привет, как дела?",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "你好，世界",
    "こんにちは世界",
    "안녕하세요 세계",
    "កាន់តែពិសេសអាចខលចេញ",
    "ნაცვლად",
    "Cửa Việt",
    "Äpfel Öl Übung ß ẞ",
    "çéàèùâêîôû",
    "Ǆ ǅ ǆ",
    "ﬁ ﬂ",
    "ÅÅ",
    "e\u0301 é",
    "a\u0308\u0301o",
    "நி",
    "Z\u0351\u036fa\u0300lgo",
    "我想在apple工作1314151天～",
    "日本語とEnglishとРусский",
    "ＡＢＣ１２３",
    "𐐀𐐁 𝒜𝒷𝒸",
    "𓀀𓁐",
    "ʰ ˈ ː",
    "ʻokina",
    "ªº",
    "ⅰ",
    "\u0e33",
    "ﷺ",
    "a\u0300",
    "\u0300a",
    " \u0300",
    "1\u0300",
]
EMOJI = [
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅ (only emoji that has its own token)",
    "👩‍👩‍👧‍👦",
    "🇩🇪🇫🇷",
    "👍🏽",
    "❤️",
    "☺",
    "🦙.cpp",
    "a🙂b🙂c",
    "🙂🙂🙂",
    " 🙂 ",
    "\U0001f9d1\u200d\U0001f4bb",
    "\u2705",
    "©️",
]
RARE = [
    "\x00",
    "\x01\x02\x03\x04\x05\x06\x07\x08",
    "\x0b\x0c",
    "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
    "\x7f",
    "\x80\x9f",
    "a\x04b\x06c",
    "\uffff",
    "\ue000",
    "\U000f0000",
    "\U0010ffff",
    "\ufffd",
    "\u202e\u202c",
    "\u00ad",
    "a\u00adb",
    "\u0378",
    "A" * 100,
    "a" * 1000,
    " " * 100,
    "\n" * 100,
    "=" * 200,
    "ab" * 300,
    ". " * 100,
    "\t" * 33,
    " \t" * 40,
    "éé" * 99,
    "😁" * 50,
    "1" * 200,
]
SPECIALS = [
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_end|>",
    "<|endoftext|>",
    "a<|endoftext|>b",
    " <|im_end|> ",
    "<|im_end|",
    "|im_end|>",
    "<|im_end|>>",
    "<<|im_end|>",
    "<|im_<|im_end|>end|>",
    "<repo_name>x<file_sep>y",
    "<reponame><filename>f.c<gh_stars>1",
    "<jupyter_start><jupyter_text>",
    "<|IM_END|>",
    "< |im_end|>",
    "it's<|im_end|>'s",
    "<empty_output><empty_output>",
    "3<|im_start|>3",
    "\n<|im_start|>\n",
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n",
]


def chosen():
    prose = [
        "The quick brown fox doesn't jump over 12 lazy dogs; it's 3:45 p.m. — isn't it?\n\n"
        "New paragraph, \"quoted\" (and more).",
        "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～",
        "ied 4 ½ months",
    ]
    return prose + WORDS + CONTRACTIONS + NUMBERS + SYMBOLS + CODE + SCRIPTS + EMOJI + RARE + SPECIALS


def random_texts(count, seed):
    rng = random.Random(seed)
    bits = [
        x for group in (WORDS, CONTRACTIONS, NUMBERS, SYMBOLS, CODE, SCRIPTS, EMOJI, SPECIALS) for x in group
    ]
    marks = [
        "'",
        "'s",
        "'LL",
        " ",
        "  ",
        "\n",
        "\r",
        "\t",
        "\u0085",
        "\u00a0",
        "\u2003",
        "1",
        "9",
        "٣",
        "½",
        "a",
        "é",
        "é",
        "\u0301",
        "中",
        "ß",
        ".",
        "$",
        "^",
        "~",
        "+",
        "<",
        "|",
        ">",
        "`",
        "_",
        "。",
        "€",
        "🙂",
        "\u200d",
        "\ufe0f",
        "\x00",
        "\u180e",
        "\ue000",
        "\u0378",
    ]
    for _ in range(count):
        yield "".join(rng.choice(marks if rng.random() < 0.8 else bits) for _ in range(rng.randint(1, 40)))


def ids_of(vocab, text, special):
    room = len(text) + 8
    out = (llama_cpp.llama_token * room)()
    count = llama_cpp.llama_tokenize(vocab, text, len(text), out, room, False, special)
    assert count >= 0
    return out[:count]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vocab", help="GGUF file with the vocabulary")
    parser.add_argument("stem", help="where the files go, without their endings")
    parser.add_argument("--random", nargs=2, type=int, metavar=("N", "SEED"))
    args = parser.parse_args()

    texts = list(random_texts(*args.random)) if args.random else chosen()
    raw = [t.encode() for t in texts]
    assert all(SEPARATOR.strip() not in t for t in raw)
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(args.vocab.encode(), params)
    vocab = llama_cpp.llama_model_get_vocab(model)

    with open(args.stem + ".texts", "wb") as f:
        f.write(b"".join(text + SEPARATOR for text in raw))
    for ending, special in ((".ids", False), (".special.ids", True)):
        with open(args.stem + ending, "w", encoding="ascii") as f:
            for text in raw:
                f.write("".join(f" {i}" for i in ids_of(vocab, text, special)) + "\n")


if __name__ == "__main__":
    main()
