"""What a user can get wrong is answered in one line, with status 2, and leaves nothing behind."""

import importlib.util
from pathlib import Path

import pytest
import torch
from cli import SMALL, Cli
from PIL import Image


def test_an_unknown_choice_gets_its_neighbours(cli: Cli) -> None:
    line = cli.refuse("loss=dlc")
    assert "loss=dlc is no choice" in line
    assert "did you mean dcl" in line
    assert "infonce" in line


def test_an_unknown_choice_among_several_does_too(cli: Cli) -> None:
    assert "latent=mochy is no choice: did you mean mochi?" in cli.refuse("latent=[queue,mochy]")


def test_an_unknown_group_or_key_gets_its_neighbours(cli: Cli) -> None:
    assert "did you mean loss" in cli.refuse("los=dcl")
    assert "trainer.max_steps" in cli.refuse("trainer.max_step=3")
    assert "trainer.max_steps" in cli.refuse("max_steps=3")


def test_a_key_that_is_added_for_nobody_is_refused(cli: Cli, evaluate: Cli) -> None:
    assert "+seeed adds a key that nothing takes: a config has seed" in cli.refuse("+seeed=1")
    assert "+data.hled adds a key that nothing takes: data has held" in cli.refuse("+data.hled=32")
    assert "a config has batch_size" in evaluate.refuse("checkpoint=timm:resnet18", "+batchsize=3")


def test_what_is_not_an_override_is_named(cli: Cli) -> None:
    assert "key=value" in cli.refuse("loss=[dcl")


def test_a_key_of_a_group_of_which_nothing_is_chosen(cli: Cli, evaluate: Cli) -> None:
    line = cli.refuse("latent=quality", "latent.quality.gama=1")
    assert "no key latent.quality.gama: latent has the keys of what is chosen by latent=…, one of ft, groups" in line
    assert "data has the keys of what is chosen by data=…, one of cifar10" in evaluate.refuse("data.source.train=9")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.max_steps=many", "trainer.max_steps='many' is of the wrong type: expected int"),
        ("optim.lr=fast", "optim.lr='fast' is of the wrong type: expected float"),
        ("optim.scaling=cubic", "optim.scaling='cubic' is of the wrong type"),
        ("+loss.sigma=1", "loss.sigma is no argument"),
        ("seed=abc", "seed='abc' is of the wrong type: expected int"),
        ("loss=pixcontrast +loss/temperature=learned", "loss.temperature cannot be a part like Learned"),
    ],
)
def test_a_value_of_the_wrong_type(cli: Cli, override: str, expected: str) -> None:
    assert expected in cli.refuse(*override.split())


def test_a_missing_value(cli: Cli) -> None:
    assert "backbone.name" in cli.refuse("backbone=timm")


def test_a_missing_and_an_empty_data_folder(cli: Cli) -> None:
    assert "nowhere" in cli.refuse("data=folder", "data.root=nowhere")
    (cli.folder / "empty").mkdir()
    assert "empty" in cli.refuse("data=folder", "data.root=empty")


def test_data_smaller_than_a_batch(cli: Cli) -> None:
    line = cli.refuse(*SMALL, "data.batch_size=1000")
    assert "do not fill a batch of 1000" in line


def test_a_batch_that_ranks_cannot_share(cli: Cli) -> None:
    line = cli.refuse(*SMALL, "trainer=ddp_cpu", "data.batch_size=33")
    assert "33 is not divisible among 2" in line


def test_an_image_that_patches_do_not_divide(cli: Cli) -> None:
    assert "30 px do not divide into patches of 7" in cli.refuse(*SMALL, "backbone=vit_t", "data.size=30")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(cli: Cli) -> None:
    assert "no CUDA device is visible" in cli.refuse("trainer=gpu")


def test_a_run_folder_that_cannot_be_written(cli: Cli) -> None:
    (cli.folder / "file").write_text("in the way")
    assert "cannot write the run folder file/" in cli.refuse(*SMALL, "runs=file")


def test_views_that_do_not_exist(cli: Cli) -> None:
    assert "offers the views 0 to 1" in cli.refuse(*SMALL, "target_views=[2]")


def test_a_loss_of_pairs_with_one_view(cli: Cli) -> None:
    assert "views.count" in cli.refuse(*SMALL, "views.count=1")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("loss=barlow views.count=1", "views.count to 2 or more"),
        ("loss=mv_dhel views.count=1", "views.count to 2 or more"),
        ("loss=swav head=prototypes views.count=1", "views.count to 2 or more"),
        ("loss=swav", "head=prototypes"),
        ("loss=dino head=branches", "DINO sees several heads (dense, instance): give each its own by loss=sum"),
        ("head=multi head.heads=4 predictor=multi", "predictor.heads=3 works on a vector for each head"),
        ("head=multi loss=sogclr", "keeps a value for every row, but not for 3 heads"),
        ("loss=amcl loss.temperature.low=0.6", "expected 0 < low <= high, but they are 0.6 and 0.5"),
        ("loss=amcl loss.repulsion=hardest", "loss.repulsion='hardest' is of the wrong type"),
        ("loss=amcl +loss/temperature=learned", "loss.temperature.hidden is no argument"),
        ("loss.negatives=[]", "no negatives"),
        ("loss.negatives=[crss]", "names ['crss']: choose among ['cross'"),
        ("loss=groco loss.k_neg=32", "k_neg=32 needs batches of 33 or more images"),
        ("loss=wmse", "data.batch_size=32"),
        ("loss=wmse loss.whitening_size=16 head.dim=16", "no invertible covariance of 16 dimensions"),
        ("loss=sogclr +loss/temperature=learned", "learned temperature gets no gradient"),
        ("loss=dcl +loss/temperature=learned loss.temperature.start=3.0", "start=3.0 lies outside"),
        ("loss=sum loss.weights.koleo=1 +loss.weights.dcl=1", "names ['dcl']: the losses are infonce, koleo"),
        ("latent=[queue] latent.queue.size=100", "queue of size=100 does not hold whole batches of 32 targets"),
        ("latent=[queue] latent.queue.size=96", "queue of size=96 does not hold whole batches of 64 targets"),
        ("latent=[queue] latent.queue.size=128 latent.queue.views=[2]", "queue is to hold views [2]"),
        ("loss=simlap loss.pairs=all", "loss.pairs='all' is of the wrong type"),
        ("loss=simlap +loss/temperature=per_row", "does not tell a temperature for every row where to go"),
        ("+data/order=class_balanced", "classes_per_batch=8 and per_class=16: expected a product of data.batch_size"),
        ("+data/order=class_balanced data.order.classes_per_batch=16 data.order.per_class=2", "there are 10"),
        ("latent=[mochi]", "MoCHi works on the memory of the step, but that is empty"),
        ("latent=[neighbours]", "Neighbours works on the memory of the step, but that is empty"),
        ("latent=[queue,ft]", "2 pairs of views are compared: set online_views=[0] target_views=[1]"),
        ("latent=[queue,whiten] latent.whiten.groups=8", "put whiten before queue"),
        ("latent=[whiten] latent.whiten.groups=3", "128 channels do not split into groups=3"),
        ("experiment=mocov2 latent=[]", "size is set for a part that is not chosen"),
        ("loss=pixpro", "PixPro compares pixels, but the head gives no maps: choose head=dense"),
        ("loss=infonce head=dense", "InfoNCE compares vectors, but the head gives maps: choose loss=pixpro"),
        ("loss=pixpro head=dense predictor=mlp", "choose predictor=propagation for maps"),
        ("loss=pixpro predictor=propagation", "predictor=propagation works on maps, but the head gives none"),
        ("loss=pixpro head=dense latent=[whiten] latent.whiten.groups=8", "Whiten works on one vector per image"),
        ("loss=pixpro head=dense backbone.dense=previous", "dense=previous leaves the last stage untrained"),
        ("loss=pixpro head=branches", "PixPro sees several heads (dense, instance)"),
        ("loss=pixpro head=branches predictor=mlp", "Predictor is for one head, but there are dense, instance"),
        ("loss=pixpro head=dense predictor=branches", "but the named heads are none: choose head=branches"),
        ("optim.constant=[heads]", "optim.constant names ['heads']"),
        ("views=multicrop backbone=vit_t backbone.patch=32", "multiples of 32 px, but a view has 16x16"),
    ],
)
def test_parts_that_do_not_fit_together(cli: Cli, overrides: str, expected: str) -> None:
    assert expected in cli.refuse(*SMALL, *overrides.split())


def test_a_loss_of_labels_on_images_without(cli: Cli) -> None:
    for i in range(40):
        file = cli.folder / "images" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.effect_noise((32, 32), 50).save(file)
    arguments = ("data=folder", "data.root=images", "data.size=32", "data.batch_size=8", "trainer=cpu")
    for loss in ("supcon", "simlap", "hydra_pairs", "simlap_moco"):
        assert "needs labels" in cli.refuse(*arguments, f"loss={loss}")
    assert "has no labels" in cli.refuse(*arguments, "+data/order=class_balanced", "data.order.per_class=1")


def test_folders_and_files_that_cannot_be_resumed(cli: Cli) -> None:
    assert "nowhere is no run folder" in cli.refuse("resume=nowhere")
    assert "holds another backbone" in cli.refuse(*SMALL, f"backbone.weights={weights_of(cli, 'resnet18')}")


def weights_of(cli: Cli, name: str) -> Path:
    from sslab.ssl.model.backbones import Backbone
    from sslab.ssl.model.weights import save_weights

    save_weights(Backbone(name).trunk, cli.folder / f"{name}.safetensors", {})
    return cli.folder / f"{name}.safetensors"


def test_a_checkpoint_that_is_none_and_one_of_another_run(cli: Cli) -> None:
    run = cli.run(*SMALL, "trainer.max_steps=2", "trainer.checkpoint_every=1", "eval=none")
    last = run / "checkpoints" / "last.ckpt"
    good = last.read_bytes()
    last.write_text("not a checkpoint")
    assert "is no checkpoint" in cli.refuse(f"resume={run}")
    torch.save([1, 2], last)
    assert "is no checkpoint: it holds a list" in cli.refuse(f"resume={run}")
    last.write_bytes(good)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("resnet_tiny", "resnet18"))
    result = cli(f"resume={run}")
    assert result.code == 2
    assert "backbone.name: resnet_tiny → resnet18" in result.err


def test_a_changed_config_is_refused_with_the_difference(cli: Cli) -> None:
    run = cli.run(*SMALL, "trainer.max_steps=2", "eval=none")
    result = cli(f"resume={run}", "optim.warmup=0.5", "loss=dcl")
    assert result.code == 2
    assert "optim.warmup: 0.05 → 0.5" in result.err
    assert "loss.decouple: False → True" in result.err


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(cli: Cli) -> None:
    every_step = ("trainer.checkpoint_every=1", "trainer.max_steps=40", "eval=none")
    result = cli(*SMALL, *every_step, "optim=sgd", "optim.lr=1e30", "optim.warmup=0.1", "head.norm=none")
    assert result.code == 2, result.err
    assert "the loss is nan at step" in result.err
    assert "rows [" in result.err
    checkpoint = torch.load(next(cli.folder.glob("runs/*/*/checkpoints/last.ckpt")), weights_only=True)
    assert f"at step {checkpoint['global_step']} " in result.err


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_package_that_is_not_installed(cli: Cli) -> None:
    result = cli(*SMALL, "logger=wandb")
    assert result.code == 2, result.err
    assert "pip install" in result.err
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(cli: Cli) -> None:
    from sslab.ssl.core.errors import UserError

    with pytest.raises(UserError, match="offers the views"):
        cli(*SMALL, "target_views=[2]", "debug=true")
