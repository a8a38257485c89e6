"""The house stands: packaging, imports and configs agree with the folders."""

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from hydra.utils import get_object

ROOT = Path(__file__).parents[1]
PACKAGES = ("conf", "ssl", "datamodules", "heads", "eval")
SOURCES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
FLOORS = {  # of ssl: a folder imports those below it
    "core": 0,
    "config": 1,
    "model": 1,
    "losses": 1,
    "pretrained": 2,
    "latent": 3,
    "experiment": 4,
    "recipes": 5,
    "commands": 6,
}


class Arrow(NamedTuple):
    """A relative import: of a module, by its path below the root, from a file."""

    file: Path
    target: tuple[str, ...]

    @property
    def source(self) -> tuple[str, ...]:
        return self.file.relative_to(ROOT).with_suffix("").parts


def arrows() -> list[Arrow]:
    found = []
    for file in SOURCES:
        folder = file.relative_to(ROOT).parts[:-1]
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = (*folder[: len(folder) - node.level + 1], *(node.module.split(".") if node.module else ()))
                modules = [(*base, alias.name) for alias in node.names if is_module((*base, alias.name))]
                found += [Arrow(file, target) for target in modules or [base]]
    return found


def is_module(path: tuple[str, ...]) -> bool:
    return ROOT.joinpath(*path).with_suffix(".py").exists()


def test_packages_are_the_folders_with_python_files() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(["sslab", *file.parent.relative_to(ROOT).parts]) for file in SOURCES}
    assert sorted(listed) == sorted({"sslab", *folders})


def test_pythons_own_ssl_is_not_shadowed() -> None:
    code = "import ssl; ssl.SSLContext; import sslab.ssl.core.step"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert not (ROOT / "ssl" / "__init__.py").exists()


def test_imports_inside_the_package_are_relative() -> None:
    inside = {*PACKAGES, "sslab"} - {"ssl"}
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] not in inside, file
            elif isinstance(node, ast.Import):
                assert not {name.name.split(".")[0] for name in node.names} & inside, file


def test_data_heads_and_evaluation_know_of_ssl_its_core_alone() -> None:
    for arrow in arrows():
        if arrow.source[0] in ("datamodules", "heads", "eval") and arrow.source[-1] != "__main__":
            assert arrow.target[0] == arrow.source[0] or arrow.target[:2] == ("ssl", "core"), arrow


def test_no_import_leads_up() -> None:
    for arrow in arrows():
        if arrow.source[:1] == arrow.target[:1] == ("ssl",) and arrow.source[1] != arrow.target[1]:
            assert FLOORS[arrow.source[1]] > FLOORS[arrow.target[1]], arrow


def test_no_imports_form_a_circle() -> None:
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for arrow in arrows():
        graph.setdefault(arrow.source, set()).add(arrow.target)
    assert list(TopologicalSorter(graph).static_order())


def test_folders_and_files_are_small() -> None:
    for folder in {file.parent for file in SOURCES}:
        assert len(list(folder.glob("*.py"))) <= 24, folder
    for file in SOURCES:
        assert len(file.read_text().splitlines()) <= 400, file


NO_BEGINNING = set(
    [
        "After",
        "As",
        "At",
        "Before",
        "Between",
        "By",
        "For",
        "From",
        "How",
        "In",
        "Likewise",
        "Of",
        "On",
        "Such",
        "Through",
        "To",
        "What",
        "When",
        "Where",
        "Whether",
        "Which",
        "Who",
        "Whose",
        "Why",
        "With",
        "Without",
    ]
)


def test_a_docstring_begins_with_what_is_returned_or_done() -> None:
    for file in [*SOURCES, *(ROOT / "bench").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node)):
                assert text.split()[0].rstrip(":,;") not in NO_BEGINNING, (file, text.splitlines()[0])


def targets() -> list[str]:
    def walk(node: object) -> list[str]:
        if isinstance(node, dict):
            return [t for k, v in node.items() for t in ([v] if k == "_target_" else walk(v))]
        return [t for v in node for t in walk(v)] if isinstance(node, list) else []

    files = sorted((ROOT / "conf").rglob("*.yaml"))
    written = [t for file in SOURCES for t in re.findall(r'"_target_": "([^"]+)"', file.read_text())]  # into configs
    return sorted({*written, *(t for file in files for t in walk(yaml.safe_load(file.read_text())))})


@pytest.mark.parametrize("target", [t for t in targets() if t.startswith("sslab.")])
def test_every_target_is_a_public_name(target: str) -> None:
    folder, _, name = target.removeprefix("sslab.").rpartition(".")
    stub = ROOT.joinpath(*folder.split("."), "__init__.pyi")
    assert f" import {name} as {name}\n" in stub.read_text()
    assert callable(get_object(target))


@pytest.mark.slow
def test_the_wheel_trains(tmp_path: Path) -> None:
    """Built, installed elsewhere without the editable copy, and run for two steps."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", str(tmp_path)], check=True)
    wheel = next(tmp_path.glob("*.whl"))
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    arguments = [
        "trainer=cpu",
        "trainer.max_steps=2",
        "data.source.train=600",
        "data.source.test=200",
        "data.batch_size=32",
    ]
    packages = sysconfig.get_paths()["purelib"]
    code = f"import sys; sys.path[:0] = [{str(site)!r}]; sys.path.append({packages!r}); "
    code += "import sslab.ssl.commands.train as m; "
    code += f"assert m.__file__.startswith({str(site)!r}); sys.argv[1:] = {arguments}; m.main()"
    subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.glob("runs/*/*/results.json"))
