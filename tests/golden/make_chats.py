#!/usr/bin/env python3
"""Makes tests/golden/chats.jsonl: what Jinja, as transformers sets it up, makes of the chat templates in
tests/golden/templates with conversations of all kinds, and of the small ones in tests/golden/constructs.json.

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
    with open(os.path.join(FOLDER, "..", "constructs.json"), encoding="utf-8") as f:
        constructs = json.load(f)
    for source in constructs:
        case(source, SMALL_VARS, source=source, chat="small")


main()
