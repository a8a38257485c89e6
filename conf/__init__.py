"""The configs; and `base=…`, with which a recipe of several runs names the experiment that they repeat."""

from importlib.resources import files

from hydra.core.config_store import ConfigStore

_EXPERIMENTS = {file.name: file.read_text() for file in files(__name__).joinpath("experiment").iterdir()}
BASES = sorted(name.removesuffix(".yaml") for name, text in _EXPERIMENTS.items() if "\nrecipe:" not in text)

ConfigStore.instance().store("none", {}, group="base")  # the defaults
for _name in BASES:
    ConfigStore.instance().store(_name, {"defaults": [f"/experiment/{_name}"]}, group="base", package="_global_")
