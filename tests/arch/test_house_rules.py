"""House rules that a linter does not know: short files, a first line that says what the file does, no pickles."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cappuccino_ml", "cappuccino_pipeline", "benchmarks", "examples", "tests")
MAX_LINES = 350
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MODULES = [path for path in FILES if path.read_text().strip()]
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]
LIBRARY = [path for path in MODULES if path.relative_to(ROOT).parts[0] == "cappuccino_ml"]
UNSAFE_MODULES = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
UNSAFE_CALLS = {("torch", "load"), ("torch", "save"), ("pd", "read_pickle"), ("pandas", "read_pickle")}


def test_the_rules_look_at_files():
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_file_is_longer_than_350_lines(path: Path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_line_one_says_what_the_file_does(path: Path):
    first = path.read_text().splitlines()[0]
    assert first.startswith('"""')
    assert len(first.strip('"').split()) >= 3


def unsafe_uses(source: str) -> list[str]:
    """Imports and calls that can run code hidden in a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [f"{node.value.id}.{node.attr}"] if (node.value.id, node.attr) in UNSAFE_CALLS else []
    return found


@pytest.mark.parametrize("path", LIBRARY, ids=[str(path.relative_to(ROOT)) for path in LIBRARY])
def test_the_library_neither_writes_nor_reads_pickles(path: Path):
    assert unsafe_uses(path.read_text()) == []


@pytest.mark.parametrize(
    "source", ["import pickle", "from joblib import load", "import torch\ntorch.load('x')", "import cloudpickle as c"]
)
def test_the_rule_against_pickles_sees_them(source: str):
    assert unsafe_uses(source)


def test_the_definitions_load_without_the_heavy_libraries():
    # The code server imports them at each start; torch, MLflow and matplotlib would cost 7 s and 400 MB every time.
    code = (
        "import sys, cappuccino_pipeline.definitions; "
        "print(sorted({'torch', 'mlflow', 'matplotlib', 'optuna', 'ccxt', 'alpaca', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
