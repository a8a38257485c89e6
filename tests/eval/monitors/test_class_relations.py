import csv

import pytest
import torch
from cli import SMALL, Cli
from PIL import Image
from sslab.eval.monitors.class_relations import COLOURS, heat_map, table

QUICK = (*SMALL, "trainer.max_steps=2", "data.source.train=64", "eval=none", "monitor=class_relations")


def test_a_table_has_the_names_on_both_sides(tmp_path):
    table(torch.tensor([[0.5, 0.25], [0.25, 1.0]]), ["cat", "dog"], tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text().splitlines() == ["class,cat,dog", "cat,0.5,0.25", "dog,0.25,1"]


def test_the_least_is_light_and_the_largest_dark():
    relations = torch.tensor([[0.9, 0.3, 0.5], [0.3, 0.7, 0.1], [0.5, 0.1, 0.9]])
    page = heat_map(relations, ["a", "b", "c"])
    end = page.height - 12
    cells = page.crop((end - 639, end - 639, end, end)).resize((3, 3), Image.Resampling.NEAREST)
    least, most = (tuple(map(int, colour)) for colour in COLOURS[[0, -1]])
    assert [cells.getpixel(place) for place in ((0, 0), (1, 2), (2, 1), (2, 2))] == [most, least, least, most]
    assert cells.getpixel((0, 1)) == cells.getpixel((1, 0))
    assert sum(cells.getpixel((1, 1))) < sum(cells.getpixel((2, 0)))  # darker


@pytest.mark.parametrize(("classes", "side"), [(1, 640), (7, 637), (100, 600), (700, 700)])
def test_a_map_has_a_whole_number_of_pixels_for_each_class(classes, side):
    named, unnamed = (heat_map(torch.rand(classes, classes), [name] * classes) for name in ("a long name", ""))
    assert unnamed.height == side + 24
    assert (named.height > unnamed.height) == (classes < 10)  # no room for names


def test_relations_all_alike_have_a_map_too():
    assert heat_map(torch.full((2, 2), 0.5), ["a", "b"]).size > (640, 640)


def test_after_training_the_run_folder_holds_table_and_picture(cli: Cli):
    run = cli.run(*QUICK, "loss=simlap_moco")
    with (run / "class_relations.csv").open(newline="") as f:
        head, *rows = csv.reader(f)
    assert head[0] == "class"
    assert [row[0] for row in rows] == head[1:]
    values = torch.tensor([[float(x) for x in row[1:]] for row in rows])
    assert values.shape == (10, 10)
    assert ((values > 0) & (values < 1)).all()
    torch.testing.assert_close(values, values.T)
    with Image.open(run / "class_relations.png") as page:
        assert page.width > 640


@pytest.mark.parametrize("loss", [("loss=infonce",), ("loss=simlap", "loss/gate=open")])
def test_without_gates_there_is_nothing_to_write(cli: Cli, loss):
    assert not list(cli.run(*QUICK, *loss).glob("class_relations*"))
