#!/usr/bin/env python3
"""Makes the man pages of what a build holds, so that they cannot tell anything else than the programs do:

  man.py --bin DIR --out DIR --version V --date YYYY-MM-DD

PROGRAM.1 is of PROGRAM --help (baton-bench, baton-plan: of each command's), with the sections of
deploy/package/man/PROGRAM after it; baton.yaml.5 is of deploy/config/local.yaml, where each key stands below
its comment. The folder of the output is made anew; pages are compressed, the same bytes for the same input.
Only the standard library.
"""

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(HERE, "../config/local.yaml")
PROGRAMS = {
    "baton-coordinator": "front of a Baton cluster",
    "baton-prefill": "prefill worker of a Baton cluster",
    "baton-decode": "decode worker of a Baton cluster",
    "baton-colocated": "worker of a Baton cluster that does prefill and decode",
    "baton-ask": "ask a Baton cluster",
    "baton-ctl": "show a Baton cluster, drain its workers, cancel its requests",
    "baton-bench": "measure servers of large language models",
    "baton-plan": "find the placement that serves a workload best",
}
WITH_COMMANDS = ("baton-bench", "baton-plan")
WORKERS = ("baton-prefill", "baton-decode", "baton-colocated")


def roff(text):
    """Text as troff takes it literally; hyphens stay hyphens when they are copied from the page."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def marked(text):
    """The same of a help text, whose `quoted` words become bold."""
    return re.sub(r"`([^`\n]+)`", r"\\fB\1\\fR", roff(text))


def head(name, section, what, given):
    title = name.upper() if section == 1 else name
    return (
        f'.TH {roff(title)} {section} "{given.date}" "Baton {given.version}" "Baton"\n'
        f".SH NAME\n{roff(name)} \\- {roff(what)}\n"
    )


def usage_of(lines):
    """The command lines that the help begins with, and the lines after them."""
    uses = []
    while lines and (found := re.match(r"\s*(?:usage|or):\s+(\S.*)", lines[0], re.I)):
        uses.append(found[1])
        lines = lines[1:]
    if not uses:
        raise SystemExit("man.py: a help text without 'Usage:': %r" % lines[:2])
    return uses, lines


def option_paragraph(line):
    """One line that starts an option: what is typed, two spaces or more, what it does."""
    typed, _, what = re.match(r"\s+(-.*?)(?:(\s{2,}|(?<=\S) (?=[A-Z(]\w* ))(.*))?$", line).groups()
    return ".TP\n.B %s\n%s" % (roff(typed), marked(what or ""))


def body_of(lines):
    """The rest of a help text: paragraphs, headings of groups, options."""
    out, in_option = [], False
    for line in lines:
        if re.match(r"\s{2,6}-\S", line):
            out.append(option_paragraph(line))
            in_option = True
        elif re.match(r"\s{20,}\S", line) and in_option:
            out.append(marked(line.strip()))
        elif re.match(r" \S.*:$", line):
            out.append(".PP\n" + marked(line.strip()))
            in_option = False
        elif re.match(r"  \S+\s{2,}\S", line):  # a command and what it does
            word, what = line.split(None, 1)
            out.append(".TP\n.B %s\n%s" % (roff(word), marked(what)))
        elif not line.strip():
            out.append(".PP")
            in_option = False
        else:
            out.append(marked(line.strip()))
    text = "\n".join(out)
    text = re.sub(r"(?:\.PP\n)+(?=\.TP|\.PP|\.S[HS]|$)", "", text + "\n")
    return re.sub(r"^\.PP\n|\n+(?=\n)|\.PP\n*$", "", text).strip("\n") + "\n"


def help_of(program, *words):
    env = dict(os.environ, ARGP_HELP_FMT="rmargin=78", LC_ALL="C")
    run = subprocess.run([program, *words, "--help"], capture_output=True, text=True, env=env, timeout=60)
    if run.returncode:
        raise SystemExit("man.py: %s --help ended with %d: %s" % (program, run.returncode, run.stderr))
    return run.stdout.split("\n")


def synopsis(uses):
    return "\n.br\n".join("\\fB%s\\fR %s" % tuple(roff(w) for w in (u + " ").split(" ", 1)) for u in uses)


def page_of(name, what, given):
    program = os.path.join(given.bin, name)
    uses, rest = usage_of(help_of(program))
    page = head(name, 1, what, given) + ".SH SYNOPSIS\n" + synopsis(uses) + "\n.SH DESCRIPTION\n"
    page += body_of(rest)
    if name in WITH_COMMANDS:
        for line in rest:
            if found := re.match(r"  (\w+)\s{2,}\S", line):
                uses, more = usage_of(help_of(program, found[1]))
                page += ".SH %s\n.PP\n%s\n.PP\n%s" % (found[1].upper(), synopsis(uses), body_of(more))
    for extra in (name, "worker" if name in WORKERS else ""):
        path = os.path.join(HERE, "man", extra)
        if extra and os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                page += f.read()
    others = ", ".join("\\fB%s\\fR(1)" % roff(p) for p in sorted(PROGRAMS) if p != name)
    return page + ".SH SEE ALSO\n\\fBbaton.yaml\\fR(5), %s\n" % others


def config_page(given):
    """Sections of the file, and its keys with the comments above them."""
    page = head("baton.yaml", 5, "what a Baton cluster is", given)
    with open(os.path.join(HERE, "man/baton.yaml"), encoding="utf-8") as f:
        page += f.read()
    comment, begun = [], False
    with open(CONFIG, encoding="utf-8") as f:
        lines = f.read().split("\n")
    for line in lines:
        if found := re.match(r"(\w+):$", line):
            page += ".SS %s\n%s" % (found[1], "\n".join(comment) + "\n" if begun and comment else "")
            comment, begun = [], True
        elif found := re.match(r"  (\w+): ", line):
            page += ".TP\n.B %s\n%s\n" % (roff(found[1]), "\n".join(comment))
            comment = []
        elif found := re.match(r"\s*# ?(.*)", line):
            text = found[1]  # what is set in, as an example, stays on a line of its own
            comment.append(".br\n%s\n.br" % roff(text.strip()) if text[:2] == "  " else marked(text))
        elif not line:
            comment = []
        else:
            raise SystemExit("man.py: %s: neither key nor comment: %s" % (CONFIG, line))
    with open(os.path.join(HERE, "man/baton.yaml.end"), encoding="utf-8") as f:
        return page + f.read()


def write(path, page):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(page.encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("bin", "out", "version", "date"):
        parser.add_argument("--" + name, required=True)
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    for name, what in PROGRAMS.items():
        write(os.path.join(given.out, "man1", name + ".1.gz"), page_of(name, what, given))
    write(os.path.join(given.out, "man5/baton.yaml.5.gz"), config_page(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
