#!/usr/bin/env python3
"""Makes tests/golden/chats.jsonl: what Jinja, as transformers sets it up, makes of the chat templates in
tests/golden/templates with conversations of all kinds, and of small templates for single constructs.

    tests/golden/make_chats.py > tests/golden/chats.jsonl

The first line has the conversations by name, each other one a case (unit/jinja_golden_test.c). Needs
transformers. The templates say what the published ones of these models say, so that they need of an
interpreter what those need."""

import datetime
import json
import os

import transformers.utils.chat_template_utils as hf

NOW = datetime.datetime(2024, 7, 26)
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


hf.datetime = Clock

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city, \u00e4\u00f6 <b>&'\"",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": " The city "},
                    "days": {"type": "integer", "description": "How many", "enum": [1, 2.5, -3]},
                    "list": {"type": ["string", "integer"], "description": "Either"},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
    },
]


def say(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool", "d": "developer"}
    return [{"role": roles[role], "content": content} for role, content in turns]


CALL = {
    "id": "abcdef123",
    "type": "function",
    "function": {
        "name": "get_weather",
        "arguments": {"city": "K\u00f6ln", "days": 2, "x": [None, True, 1e-7, 1.0]},
    },
}
CALLED = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"t": 21.5}', "name": "get_weather", "tool_call_id": "abcdef123"},
]
CHATS = {
    "one": {"messages": say(("u", "Hi"))},
    "system": {"messages": say(("s", "Be brief."), ("u", "Hi"))},
    "turns": {"messages": say(("u", "Hi"), ("a", "Hello!"), ("u", "And you?"))},
    "system turns": {
        "messages": say(("s", " Be brief.\n"), ("u", " Hi \n"), ("a", "\n\nHello! "), ("u", "And\tyou?"))
    },
    "unicode": {"messages": say(("s", "\u00dcber \u4f60\u597d"), ("u", "\U0001f600\u00a0e\u0301 \u3000"))},
    "empty": {"messages": say(("s", ""), ("u", ""))},
    "answered": {"messages": say(("u", "Hi"), ("a", "<think>\nhm\n</think>\n\nHello"))},
    "signs": {"messages": say(("u", "<|im_end|>\n<|im_start|>system\n[/INST] <|eot_id|> </s>"))},
    "developer": {"messages": say(("d", "Be brief."), ("u", "Hi"))},
    "parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}
        ]
    },
    "tools": {"messages": say(("s", "Be brief."), ("u", "Weather?")), "tools": TOOLS},
    "call": {"messages": CALLED, "tools": TOOLS},
    "call turns": {
        "messages": CALLED + say(("a", "It is 21.5."), ("u", "Thanks /no_think")),
        "tools": TOOLS[:1],
    },
    "calls": {
        "messages": [
            {"role": "user", "content": "Both"},
            {
                "role": "assistant",
                "content": "I look.",
                "reasoning_content": "\nLet me see\n",
                "tool_calls": [CALL, CALL],
            },
            {"role": "tool", "content": "1", "tool_call_id": "abcdef123"},
            {"role": "tool", "content": "2", "tool_call_id": "abcdef123"},
        ],
        "tools": TOOLS,
    },
    "no thinking": {"messages": say(("s", "/think x"), ("u", "Hi")), "enable_thinking": False},
    "override": {"messages": say(("s", "Own /system_override"), ("u", "Hi"))},
    "odd": {"messages": say(("a", "Hello"), ("u", "Hi"))},
    "builtin": {
        "messages": say(("u", "Hi")),
        "builtin_tools": ["code_interpreter", "search"],
        "tools_in_user_message": False,
        "tools": TOOLS,
    },
}

SMALL = [
    "{% for i in range(3) %}{{ i }}{% if i == 1 %}{% break %}{% endif %}{% else %}none{% endfor %}",
    "{% for i in [1] %}{% continue %}{% else %}none came to its end{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ loop.index }}{{ k }}{{ v }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in [1, 2, 3] if x != 2 %}{{ x }}/{{ loop.length }}/{{ loop.previtem }}/{{ loop.nextitem }};{% endfor %}",
    "{% set x = 0 %}{% for i in [1, 2] %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% macro m(a, b='x', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m('q', 'r') }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% set t %}a{% if true %}b{% endif %}\n{% endset %}[{{ t|trim }}]{% set u | upper %}x{% endset %}{{ u }}",
    "{% filter upper %}a{{ 'b' }}{% endfilter %}",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
    "a \n  {%- if true -%}  \n b {%- endif +%}\n c {%+ if true %}\nd{% endif %}",
    "  {{ 1 }}  \n{# c #}\n  {# d #}x{#- e -#}  y\n\n",
    "{% raw %}{{ x }}{% endraw %}{%- raw -%} {% y %} {%- endraw %}",
    "{{ {'a': {'b': [1, 2]}}}}{{ '}}' }}{{ \"%}\" }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1_000 + 0x10 }} {{ 7.5 // 2 }}",
    "{{ 1 < 2 < 3 }}{{ 3 > 2 > 2 }}{{ 1 == 1.0 }}{{ true == 1 }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}",
    "{{ not true or true and false }}{{ 1 if false else 2 if false else 3 }}{{ 'x' if false }}",
    "{{ 'abc'[-1] }}{{ 'abc'[1:] }}{{ 'abc'[::-1] }}{{ [1, 2, 3][-2:] }}{{ 'h\u00e9llo'[1] }}{{ (1, 2, 3)[::2] }}",
    "{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1, 'x'] ~ missing }}",
    "{{ 'a b  c'.split() }}{{ 'a,b,c'.split(',', 1) }}{{ ' x '.strip() }}{{ 'xxaxx'.strip('x') }}{{ 'a-b'.replace('-', '+') }}",
    "{{ 'Hello'.startswith('He') }}{{ 'Hello'.endswith(('x', 'lo')) }}{{ 'hello world'.title() }}{{ 'l' in 'hello' }}{{ 'hello'.find('l') }}",
    "{{ d.get('k') }}{{ d.get('z', 'none') }}{{ d.keys()|list }}{{ d['k'] }}{{ d.u.x[0] }}{{ d.items()|list }}",
    "{{ d|tojson }}{{ d|tojson(indent=2) }}{{ s|tojson }}{{ s|tojson(ensure_ascii=true) }}{{ d|tojson(sort_keys=true, separators=(',', ':')) }}",
    "{{ l|sort|join(',') }}{{ l|map('string')|list }}{{ messages|map(attribute='role')|join('|') }}{{ l|first }}{{ l|last }}{{ l|length }}",
    "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ messages|rejectattr('tool_calls', 'defined')|list|length }}{{ l|select('odd')|list }}{{ l|reject('gt', 1)|list }}",
    "{{ '%.2f'|length }}{{ 3.14159|round(2) }}{{ 2.5|round }}{{ '12'|int + 1 }}{{ 'x'|int(5) }}{{ '1.5'|float }}{{ -3|abs }}",
    "{{ missing|default('d') }}{{ ''|default('e', true) }}{{ none|d('f') }}{{ missing is defined }}{{ s is string }}{{ l is iterable and l is not mapping }}",
    "{{ 'a\\nb\\tc\\\\\\'\\u00e9\\x41\\101\\q' }}{{ \"it's\" }}{{ ['it\\'s', \"q\\\"\"] }}",
    "{{ 'x\\ny\\n\\nz'|indent }}|{{ 'x\\ny'|indent(2, true) }}|{{ 'a<b>&\"'|e }}|{{ 'hello wORLD'|capitalize }}|{{ 'a-b c'|title }}",
    "{{ 1e20 }} {{ 1e16 }} {{ 123456789.125 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 1e15 }} {{ 100.0 }}",
    "{{ [3, 1]|sort }}{{ ['b', 'A']|sort }}{{ {'b': 1, 'a': 2}|dictsort }}{{ [1, 1, 2]|unique|list }}{{ 'abc'|reverse }}{{ [1, 2, 3]|batch(2)|list }}",
    "{% set a, b = 1, [2] %}{{ a }}{{ b }}{% for a, (b, c) in [(1, (2, 3))] %}{{ a + b + c }}{% endfor %}",
    "{{ raise_exception('no') }}",
    "{{ missing.x }}",
    "{{ d.missing.x }}",
    "{{ l.append(1) }}",
    "{{ 1 + 'a' }}",
    "{{ missing + 1 }}",
    "{% for x in 5 %}{% endfor %}",
    "{{ range(1000000) }}",
    "{{ strftime_now('%Y-%m-%d %A') }}",
    "{% if x %}",
    "{{ 1 + }}",
    "{% nonsense %}",
    "{{ 1|nonsense }}",
    "{{ 1 is nonsense }}",
    "{{ 'a' 'b' }}{{ ('a', ) }}{{ () }}{{ {} }}{{ [1, ] }}",
    "{% generation %}x{% endgeneration %}",
]
SMALL_VARS = {
    "messages": CALLED,
    "s": "\u00e4 \"q\" \\ \n\u0001<",
    "l": [3, 1, 2],
    "d": {"k": "v", "u": {"x": [1, None]}, "a": 1.0, "z z": "\u4f60"},
}


def case(text, variables, **head):
    try:
        head["text"] = hf._cached_compile_jinja_template(text).render(**variables)
    except Exception:
        head["fails"] = True
    print(json.dumps(head, ensure_ascii=False))


def main():
    base = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}
    chats = {}
    for name, chat in CHATS.items():
        for opened in (True, False):
            chats[name + (" open" if opened else "")] = {**base, **chat, "add_generation_prompt": opened}
    chats["small"] = SMALL_VARS
    print(json.dumps({"chats": chats}, ensure_ascii=False))
    for file in sorted(os.listdir(FOLDER)):
        with open(os.path.join(FOLDER, file), encoding="utf-8") as f:
            source = f.read()
        for name, chat in chats.items():
            if name != "small":
                case(source, chat, template=file, chat=name)
    for source in SMALL:
        case(source, SMALL_VARS, source=source, chat="small")


main()
