"""Commands and code in the documents are real: each name exists, each block parses, and those marked `runs` are run.

A fenced block below the line `<!-- runs -->` is run as it stands, on an empty state folder; every other one is parsed.
"""

import ast
import configparser
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import typer

from cappuccino_pipeline.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "data_lake" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
BLOCK = re.compile(r"(?P<mark><!-- runs -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
KNOWN_LANGUAGES = {"bash", "python", "ini", "json", "text", ""}
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
IN_BASH = ("make ", "cappuccino ", ".venv/bin/cappuccino ", "python -m ", ".venv/bin/python -m ")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    body: str
    runs: bool

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page, text in TEXTS.items():
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("language")) + 1
            yield Block(page, line, match["language"], match["body"], bool(match["mark"]))


BLOCKS = list(blocks())
BASH = [block for block in BLOCKS if block.language == "bash"]
PYTHON = [block for block in BLOCKS if block.language == "python"]
RUN = [block for block in BLOCKS if block.runs]


def complaint(command: str) -> str | None:
    """What is wrong with a `make`, `cappuccino` or `python -m` command; None if nothing is, or if it is another one."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if words[:1] == ["sudo"]:
        words = words[1:]
    match words:
        case ["make", target, *_] if not target.startswith("-"):
            return None if target in TARGETS else f"there is no make target {target}"
        case [program, "-m", module, *_] if program.endswith("python"):
            known = importlib.util.find_spec(module.split(".")[0]) and importlib.util.find_spec(module)
            return None if known else f"there is no module {module}"
        case [program, name, *rest] if program.split("/")[-1] == "cappuccino":
            return None if name.startswith("-") else _complaint_about(name, rest)
    return None


def _complaint_about(name: str, rest: list[str]) -> str | None:
    if name not in COMMANDS:
        return f"there is no command cappuccino {name}"
    options = {option for parameter in _parameters(COMMANDS[name]) for option in parameter.opts} | {"--help"}
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in options]
    return f"cappuccino {name} has no option {', '.join(unknown)}" if unknown else None


def _parameters(command: click.Command) -> list[click.Parameter]:
    """Of a command, and of the commands below it."""
    below = getattr(command, "commands", {}).values()
    return [*command.params, *(parameter for each in below for parameter in _parameters(each))]


OPTIONS = sorted(
    {
        option
        for command in COMMANDS.values()
        for parameter in _parameters(command)
        for option in parameter.opts
        if option.startswith("--")
    }
)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_explained_somewhere(option: str):
    assert any(re.search(rf"{option}(?![\w-])", text) for text in TEXTS.values())


def test_there_is_something_to_look_at():
    assert len(BASH) >= 5
    assert {block.language for block in RUN} >= {"bash", "python"}
    assert {block.language for block in BLOCKS} <= KNOWN_LANGUAGES


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("make demo", False),
        ("CAPPUCCINO_SOURCE=ccxt make ui", False),
        ("make coffee", True),
        ("cappuccino status --page FILE", False),
        ("cappuccino status --paper FILE", True),
        (".venv/bin/cappuccino brew", True),
        ("python -m benchmarks.chain", False),
        ("python -m benchmarks.nothing", True),
        ("tar -x", False),
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str, wrong: bool):
    assert bool(complaint(command)) == wrong


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_named_in_the_text_exists(page: str):
    inline = [words for words in INLINE.findall(TEXTS[page]) if words.startswith(IN_BASH)]
    found = [complaint(words) for words in inline if "..." not in words]
    modules = set(re.findall(r"\b(?:benchmarks|examples)\.(?!md\b)[a-z_]+\b(?!\.)", TEXTS[page]))
    found += [complaint(f"python -m {module}") for module in sorted(modules)]
    assert [each for each in found if each] == []


@pytest.mark.parametrize("block", BASH, ids=lambda block: block.name)
def test_every_bash_block_parses_and_its_commands_exist(block: Block):
    checked = subprocess.run(["bash", "-n"], input=block.body, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    lines = block.body.replace("\\\n", " ").splitlines()
    assert [wrong for line in lines if line.strip() and (wrong := complaint(line))] == []


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_every_python_block_parses(block: Block):
    ast.parse(block.body)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "ini"], ids=lambda block: block.name)
def test_a_unit_file_starts_a_command_that_exists(block: Block):
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.body)
    assert complaint(unit["Service"]["ExecStart"]) is None


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which `.venv/bin/cappuccino` and `python` are this checkout's."""
    folder = tmp_path_factory.mktemp("docs")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, arguments in (("python", ""), ("cappuccino", "-m cappuccino_pipeline")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        script.chmod(0o755)
    return os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CAPPUCCINO_STATE": str(folder / "state"),
        "WHERE": str(folder),
    }


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_a_block_that_is_marked_runs_as_it_stands(block: Block, shell: dict[str, str]):
    command = ["bash", "-euo", "pipefail"] if block.language == "bash" else [sys.executable, "-"]
    run = subprocess.run(
        command, input=block.body, env=shell, cwd=shell["WHERE"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
