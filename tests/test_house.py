"""The house stands: packaging, imports and configs agree with the folders."""

import ast
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_object

ROOT = Path(__file__).parents[1]
PACKAGES = ("conf", "ssl", "datamodules", "heads", "eval")
SHARED = {"step", "distributed", "draws", "errors"}  # what heads, datamodules and eval may import from ssl
SOURCES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def test_packages_are_the_folders_with_python_files() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(["sslab", *file.parent.relative_to(ROOT).parts]) for file in SOURCES}
    assert sorted(listed) == sorted(folders)


def test_pythons_own_ssl_is_not_shadowed() -> None:
    code = "import ssl; ssl.SSLContext; import sslab.ssl.step"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert not (ROOT / "ssl" / "__init__.py").exists()


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_follow_the_arrows(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            assert node.level > 0 or parts[0] not in {*PACKAGES, "sslab"} - {"ssl"}, "inside the folders, relative"
            outside = node.level == len(file.relative_to(ROOT).parts)
            if outside and package in ("heads", "datamodules", "eval") and file.name != "__main__.py":  # a program
                assert parts[0] == "ssl", f"{package} may not know {node.module}"
                assert parts[1] in SHARED, f"{package} may not know {node.module}"
        elif isinstance(node, ast.Import):
            assert not {n.name.split(".")[0] for n in node.names} & ({*PACKAGES, "sslab"} - {"ssl"})


def targets() -> list[str]:
    def walk(node: object) -> list[str]:
        if isinstance(node, dict):
            return [t for k, v in node.items() for t in ([v] if k == "_target_" else walk(v))]
        return [t for v in node for t in walk(v)] if isinstance(node, list) else []

    files = sorted((ROOT / "conf").rglob("*.yaml"))
    return sorted({t for file in files for t in walk(yaml.safe_load(file.read_text()))})


@pytest.mark.parametrize("target", [t for t in targets() if t.startswith("sslab.")])
def test_every_target_imports(target: str) -> None:
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
    code = f"import sys; sys.path[:0] = [{str(site)!r}]; sys.path.append({packages!r}); import sslab.ssl.launch as m; "
    code += f"assert m.__file__.startswith({str(site)!r}); sys.argv[1:] = {arguments}; m.main()"
    subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.glob("runs/*/*/results.json"))
