#!/usr/bin/env python3
"""Makes random small templates and what Jinja, as transformers sets it up, makes of them.

    tests/golden/make_templates.py N SEED > cases.jsonl
    build/test/tests/unit_jinja_golden_test cases.jsonl tests/golden/templates

To look for differences that nobody thought of; what it found stands in constructs.json. Needs transformers.
"""

import json
import random
import sys

import jinja2
from transformers.utils.chat_template_utils import _cached_compile_jinja_template as compile_template

VARS = {
    "messages": [
        {"role": "system", "content": "  Be brief. \n"},
        {"role": "user", "content": "Hi <|im_end|> \u00e4\u00f6\u00fc \u4f60\u597d \U0001f600"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "b": [1.5, None, True]}}}],
        },
        {"role": "user", "content": [{"type": "text", "text": "part"}, {"type": "text", "text": "two"}]},
    ],
    "tools": None,
    "s": " Hello, World!\n",
    "t": "a,b,,c",
    "n": 7,
    "z": 0,
    "f": 2.5,
    "l": [3, 1, 2],
    "w": ["b", "A", "c", "a"],
    "d": {"k": "v", "n": 1, "u": {"x": [1, 2]}},
    "e": [],
    "yes": True,
    "nil": None,
    "add_generation_prompt": True,
}

STR_ATOMS = [
    "s",
    "t",
    "'x'",
    '"y\\n"',
    "''",
    "messages[0].content",
    "messages[1]['content']",
    "'<|' ~ n ~ '|>'",
    "'a' 'b'",
    "nil|string",
    "w[1]",
    "l|join('-')",
    "d|tojson",
    "s|trim",
    "'\\u00e9\\x41'",
]
NUM_ATOMS = [
    "n",
    "z",
    "f",
    "1",
    "-2",
    "3.0",
    "l[0]",
    "l|length",
    "10",
    "messages|length",
    "l|sum",
    "1_000",
    "1e3",
]
LIST_ATOMS = [
    "l",
    "w",
    "e",
    "[1, 'a', none]",
    "messages",
    "(1, 2)",
    "range(3)",
    "range(5, 0, -2)",
    "t.split(',')",
    "d.items()",
    "d|dictsort",
    "d.keys()",
    "w|sort",
    "l|reverse|list",
    "s.split()",
    "[[1, 2], [3]]",
]
DICT_ATOMS = [
    "d",
    "messages[0]",
    "{'a': 1, 'b': 'x'}",
    "d.u",
    "{}",
    "dict(q=1)",
    "messages[2].tool_calls[0].function",
]
OTHER = ["nil", "missing", "yes", "true", "None", "d.missing", "d['k']", "tools", "ns.a"]
STR_FILTERS = [
    "trim",
    "upper",
    "lower",
    "title",
    "capitalize",
    "replace('l', 'LL')",
    "replace('a', '', 1)",
    "length",
    "string",
    "first",
    "last",
    "list",
    "int",
    "float(9.5)",
    "tojson",
    "e",
    "indent(2)",
    "indent(first=true)",
    "default('q')",
    "reverse",
    "safe",
    "trim('x ')",
]
LIST_FILTERS = [
    "length",
    "join(', ')",
    "first",
    "last",
    "list",
    "reverse|list",
    "sort",
    "unique|list",
    "tojson",
    "tojson(indent=2)",
    "map('string')|list",
    "select('defined')|list",
    "select|list",
    "reject('none')|list",
    "batch(2)|list",
    "map('upper')|join",
    "sort(reverse=true)",
    "max",
    "min",
    "string",
    "map(attribute='role')|list",
    "selectattr('role', 'equalto', 'user')|list",
    "rejectattr('tool_calls')|map(attribute='role')|join('/')",
    "tojson(separators=(',', ':'))",
]
NUM_FILTERS = [
    "abs",
    "round",
    "round(1)",
    "int",
    "float",
    "string",
    "default(3)",
    "tojson",
    "round(method='floor')",
]
DICT_FILTERS = [
    "length",
    "tojson",
    "items|list",
    "list",
    "dictsort",
    "tojson(indent=4)",
    "string",
    "dictsort(reverse=true)|first",
    "tojson(sort_keys=true)",
    "tojson(ensure_ascii=true)",
]
METHODS = [
    ".strip()",
    ".lstrip()",
    ".rstrip('\\n!')",
    ".split(',')",
    ".split(',', 1)",
    ".upper()",
    ".lower()",
    ".title()",
    ".startswith('a')",
    ".endswith('\\n')",
    ".replace('o', '0')",
    ".find('o')",
    ".split(',')[-1]",
    ".count('l')",
    "[0]",
    "[-1]",
    "[1:]",
    "[::-1]",
    "[:3]",
    "[1:-1]",
    "[-3:]",
    "[::2]",
    ".splitlines()",
    ".capitalize()",
    ".isdigit()",
    ".removeprefix('a')",
    ".split('l')[0].rstrip()",
]
TESTS = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "float",
    "mapping",
    "sequence",
    "iterable",
    "boolean",
    "true",
    "false",
    "not none",
    "not defined",
    "not string",
    "eq(7)",
    "equalto('x')",
    "in([1, 7])",
    "sameas(true)",
    "lower",
    "upper",
    "callable",
]

HEAD = (
    "{% set ns = namespace(a=1) %}{% macro m(a, b='B') %}[{{ a }}|{{ b }}]{% endmacro %}"
    "{% macro m2(a, b=none) -%} {{ a }}{% if b %}{{ m(b) }}{% endif %} {%- endmacro %}"
)


class Maker:
    def __init__(self, rng):
        self.r = rng
        self.depth = 0

    def pick(self, *lists):
        return self.r.choice(self.r.choice(lists))

    def strings(self):
        r = self.r.random()
        if r < 0.5:
            return self.r.choice(STR_ATOMS)
        if r < 0.7:
            return f"({self.strings()}){self.r.choice(METHODS)}"
        if r < 0.85:
            return f"({self.strings()} ~ {self.any()})"
        return f"({self.strings()} + {self.strings()})"

    def numbers(self):
        r = self.r.random()
        if r < 0.5:
            return self.r.choice(NUM_ATOMS)
        if r < 0.9:
            op = self.r.choice(['+', '-', '*', '/', '//', '%'])
            return f"{self.r.choice(NUM_ATOMS)} {op} {self.numbers()}"
        return f"({self.numbers()}) ** {self.r.choice(['2', '0', '-1', '3'])}"

    def lists(self):
        r = self.r.random()
        if r < 0.6:
            return self.r.choice(LIST_ATOMS)
        if r < 0.8:
            return f"({self.lists()}){self.r.choice(['[1:]', '[::-1]', '[:2]', '[-2:]', '[:-1]'])}"
        return f"[{self.any()}, {self.any()}]"

    def any(self):
        self.depth += 1
        try:
            if self.depth > 4:
                return self.pick(STR_ATOMS, NUM_ATOMS, LIST_ATOMS, OTHER)
            r = self.r.randrange(11)
            if r < 2:
                e = self.strings()
                return f"{e}|{self.r.choice(STR_FILTERS)}" if self.r.random() < 0.4 else e
            if r < 4:
                e = self.numbers()
                return f"({e})|{self.r.choice(NUM_FILTERS)}" if self.r.random() < 0.3 else e
            if r < 6:
                e = self.lists()
                return f"{e}|{self.r.choice(LIST_FILTERS)}" if self.r.random() < 0.6 else e
            if r == 6:
                e = self.r.choice(DICT_ATOMS)
                return f"{e}|{self.r.choice(DICT_FILTERS)}" if self.r.random() < 0.6 else e
            if r == 7:
                return (
                    f"({self.any()} if {self.cond()} else {self.any()})"
                    if self.r.random() < 0.8
                    else f"({self.any()} if {self.cond()})"
                )
            if r == 8:
                return self.cond()
            if r == 9:
                return f"{self.r.choice(['m', 'm2'])}({self.any()}{self.r.choice(['', ', b=' + self.any()])})"
            return self.r.choice(OTHER)
        finally:
            self.depth -= 1

    def cond(self):
        self.depth += 1
        try:
            r = self.r.randrange(6)
            if r == 0 or self.depth > 4:
                return f"{self.r.choice(OTHER)} is {self.r.choice(TESTS)}"
            if r == 1:
                return f"({self.any()}) {self.r.choice(['==', '!=', '<', '>=', 'in', 'not in'])} {self.any()}"
            if r == 2:
                return f"({self.cond()} {self.r.choice(['and', 'or'])} {self.cond()})"
            if r == 3:
                return f"(not {self.cond()})"
            if r == 4:
                return f"({self.any()}) is {self.r.choice(TESTS)}"
            return f"1 < {self.numbers()} <= 7"
        finally:
            self.depth -= 1

    def space(self):
        return self.r.choice(["", "", " ", "\n", "\n  ", "  text ", " \n\n", "\t", "x\n", "- "])

    def tag(self, text, print_=False):
        left = self.r.choice(["", "", "", "-", "+" if not print_ else ""])
        right = self.r.choice(["", "", "", "-", "+" if not print_ else ""])
        return f"{{{{{left} {text} {right}}}}}" if print_ else f"{{%{left} {text} {right}%}}"

    def body(self, depth):
        out = self.space()
        for _ in range(self.r.randrange(1, 4)):
            out += self.statement(depth) + self.space()
        return out

    def statement(self, depth):
        r = self.r.randrange(12) if depth < 3 else self.r.randrange(5)
        if r < 4:
            return self.tag(self.any(), True)
        if r == 4:
            return self.r.choice(
                ["{#- c -#}", "{# c #}\n", self.tag("raw") + " {{ x }} " + self.tag("endraw"), "\n{#c#}"]
            )
        if r == 5:
            return self.tag(f"set {self.r.choice(['v', 's', 'ns.a', 'v, v2'])} = {self.any()}") + self.tag(
                "v", True
            )
        if r == 6:
            return self.tag("set v") + self.body(depth + 1) + self.tag("endset") + self.tag("v|trim", True)
        if r < 9:
            out = self.tag(f"if {self.cond()}") + self.body(depth + 1)
            if self.r.random() < 0.3:
                out += self.tag(f"elif {self.cond()}") + self.body(depth + 1)
            if self.r.random() < 0.5:
                out += self.tag("else") + self.body(depth + 1)
            return out + self.tag("endif")
        target = self.r.choice(["x", "x", "x", "x, y"])
        over = (
            self.r.choice(["d.items()", "d|dictsort", "[(1, 2), (3, 4)]"]) if "," in target else self.lists()
        )
        out = self.tag(f"for {target} in {over}{self.r.choice(['', '', ' if x', ' if x is not none'])}")
        out += self.body(depth + 1) + self.tag("x", True)
        out += self.r.choice(
            [
                "",
                self.tag(
                    self.r.choice(
                        [
                            "loop.index",
                            "loop.last",
                            "loop.revindex0",
                            "loop.previtem",
                            "loop.nextitem is defined",
                            "loop.length",
                        ]
                    ),
                    True,
                ),
            ]
        )
        out += self.r.choice(
            [
                "",
                "",
                self.tag(f"if {self.cond()}")
                + self.tag(self.r.choice(["break", "continue"]))
                + self.tag("endif"),
            ]
        )
        if self.r.random() < 0.3:
            out += self.tag("else") + self.body(depth + 1)
        return out + self.tag("endfor")

    def template(self):
        return HEAD + self.body(0) + self.r.choice(["", "\n", "\n\n"])


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    while count > 0:
        source = Maker(rng).template()
        case = {"source": source, "vars": VARS}
        try:
            case["text"] = compile_template(source).render(**VARS)
            if any(
                word in case["text"]
                for word in (
                    "<generator",
                    "object at 0x",
                    "dict_items(",
                    "dict_keys(",
                    "range(",
                    "<built-in",
                    "<method",
                    "<Macro",
                    "&lt;",
                )
            ):
                continue
        except Exception as e:
            if rng.random() < 0.7:
                continue
            case["fails"] = True
            case["why"] = str(e)
        count -= 1
        print(json.dumps(case))


main()
