"""Settings that the sources of the recipes state, one row a recipe; what a source leaves open is None or not there."""

from typing import Any, NamedTuple


class Views(NamedTuple):
    crops: float  # least share of the area
    jitter: tuple[float, float, float, float, float]  # probability; brightness, contrast, saturation, hue
    blur: float | list[float] = 0.0
    solarise: float | list[float] = 0.0
    grey: float = 0.2
    interpolation: str | None = None  # of crops


class Schedule(NamedTuple):
    """An optimiser and its rate."""

    name: str
    lr: float  # at a batch of 256
    scaling: str | None  # of the rate with the batch
    decay: float | None
    warmup: float | None  # in epochs, or in steps where the length is
    length: int | None
    batch: int | None
    options: dict[str, Any] | None = None


class Recipe(NamedTuple):
    """Heads are written as their layers: a number is a linear layer of so many outputs, - is none."""

    source: str
    head: Any
    predictor: Any
    optim: Schedule | None
    views: Views | None
    also: dict[str, Any] = {}


SYM = Views(0.08, (0.8, 0.8, 0.8, 0.8, 0.2), blur=0.5, interpolation="bicubic")
WEAK = Views(0.08, (0.8, 0.4, 0.4, 0.4, 0.1), blur=0.5, interpolation="bicubic")
SHARP = WEAK._replace(blur=0.0)
OPEN_SHARP = SHARP._replace(interpolation=None)
ASYM = Views(0.08, (0.8, 0.4, 0.4, 0.2, 0.1), solarise=[0.0, 0.2], interpolation="bicubic")
BYOL = ASYM._replace(blur=[1.0, 0.1], interpolation=None)
MOCO_V2 = WEAK._replace(crops=0.2, interpolation=None)
CACR = Views(0.2, (1.0, 0.4, 0.4, 0.4, 0.4))
CENTRE = MOCO_V2._replace(blur=0.0)
VICREG = Views(0.2, (0.8, 0.4, 0.4, 0.2, 0.1), solarise=0.1, interpolation="bicubic")
ADAINF = Views(0.2, (0.4, 0.4, 0.4, 0.4, 0.1), blur=0.5, interpolation="bicubic")
ADAINF_ASYM = Views(0.2, (0.4, 0.4, 0.4, 0.2, 0.1), solarise=[0.0, 0.2], interpolation="bicubic")


def solo(name: str, lr: float, decay: float) -> Schedule:
    clipped = {"trust_coeff": 0.02, "trust_clip": True} if name == "lars" else None
    return Schedule(name, lr, "linear", decay, 10, 1000, 256, clipped)


def adainf(name: str, lr: float, decay: float) -> Schedule:
    return solo(name, lr, decay)._replace(warmup=1000, length=100_000, batch=512)


def amcl(lr: float) -> Schedule:
    return Schedule("sgd", lr, "none", 5e-4, None, 800, 512)


ISOGCLR = Schedule("lars", 0.8, "none", 5e-4, 10, 400, 128, {"trust_coeff": 0.001})
DCL = Schedule("lars", 1.2, "sqrt", 1e-6, 10, None, None, {"trust_coeff": 0.001})  # 0.075 √batch
PIXPRO = Schedule("lars", 1.0, "linear", 1e-5, 5, 100, 1024)
MULTIVIEW = Schedule("sgd", 1.0, None, 1e-6, 2, 200, 256)
HALLUCINATOR = Schedule("sgd", 0.5, "none", 1e-4, None, 500, 512)

SOLO = "solo-learn: scripts/pretrain/cifar, solo/methods"
OF_ADAINF = "PKU-ML/adainf: solo-learn/scripts/pretrain/cifar"
OF_AMCL = "LeiWangR/cl: train_eval.py, src/models.py"
OF_CACR = "JegZheng/CACR-SSL: READMEs"
OF_DCL = "lightly: benchmarks/imagenet/resnet50; raminnakhli: head"
OF_HALLUCINATOR = "the authors' code: configs, models/generator.py"
OF_ISOGCLR = "zhqiu/contrastive-learning-iSogCLR: unimodal_exps"
OF_MULTIVIEW = "pakoromilas/Multi-View-CL: configs, models"
OF_PIXPRO = "zdaxie/PixPro: contrast, tools"
OF_SIMLAP = "erow/hydra: moco/builder.py, CONFIG.md; solo-learn for what they leave open on CIFAR"

TWO, THREE = "2048 ReLU 256", "2048 BN ReLU 2048 BN ReLU 2048"
BYOL_MLP = "4096 BN ReLU 256"
MULTI = "3 x (512 ReLU 128)"

EMA = {"teacher.start": 0.99, "teacher.end": 1.0}
ANNEALED = {"teacher.start": 0.99, "teacher.end": 0.999}
CONSTANT = {"teacher.start": 0.999, "teacher.end": 0.999}
T = "loss.temperature"
QUEUE = "latent.queue.size"
MOCO_PLUS = {T: 0.2, QUEUE: 32768, **ANNEALED}
NEIGHBOURS = {T: 0.2, QUEUE: 65536, "latent.queue.views": [0]}
SUPPRESSED = {"views.centre": [0.5, 1.0], "views.centre_alpha": [0.1, 1.0], "optim.final": 0.1}
FLOOR = {"optim.final": 0.001}

PUBLISHED = {
    # solo-learn: CIFAR, ResNet-18
    "simclr": Recipe(SOLO, TWO, "-", solo("lars", 0.4, 1e-4), SYM, {T: 0.2}),
    "mocov2": Recipe(SOLO, TWO, "-", solo("sgd", 0.3, 1e-4), WEAK, MOCO_PLUS),
    "moco_dcl": Recipe(SOLO, TWO, "-", solo("sgd", 0.3, 1e-4), WEAK, MOCO_PLUS),
    "mocov3": Recipe(SOLO, f"{BYOL_MLP} BN(fixed)", BYOL_MLP, solo("lars", 0.3, 1e-6), ASYM, {T: 0.2, **EMA}),
    "byol": Recipe(SOLO, BYOL_MLP, BYOL_MLP, solo("lars", 1.0, 1e-5), ASYM, EMA),
    "simsiam": Recipe(
        *(SOLO, f"{THREE} BN(fixed)", "512 BN ReLU 2048", solo("sgd", 0.5, 1e-5), WEAK),
        {"optim.constant": ["predictor"]},
    ),
    "barlow": Recipe(
        *(SOLO, THREE, "-", solo("lars", 0.3, 1e-4), ASYM),
        {"loss.off_diagonal": 0.0051, "loss.scale": 0.1},
    ),
    "vicreg": Recipe(
        *(SOLO, THREE, "-", solo("lars", 0.3, 1e-4), VICREG),
        {"loss.invariance": 25.0, "loss.variance": 25.0, "loss.covariance": 1.0},
    ),
    "swav": Recipe(  # a queue of 3840, which is no multiple of a batch of both views
        *(SOLO, "2048 BN ReLU 128, 3000 prototypes", "-", solo("lars", 0.6, 1e-6), SYM),
        {T: 0.1, "latent.queue.from_epoch": 50, "head.frozen_epochs": 2.0},
    ),
    "nnclr": Recipe(
        *(SOLO, "2048 BN ReLU 2048 BN ReLU 256 BN", BYOL_MLP, solo("lars", 0.4, 1e-5), ASYM, NEIGHBOURS),
    ),
    "nnclr_dcl": Recipe(
        *(SOLO, "2048 BN ReLU 2048 BN ReLU 256 BN", BYOL_MLP, solo("lars", 0.4, 1e-5), ASYM, NEIGHBOURS),
    ),
    "dino": Recipe(
        *(SOLO, "2048 GELU 2048 GELU 256, 4096 prototypes", "-", solo("lars", 0.3, 1e-6), ASYM),
        {"teacher.start": 0.9995, "teacher.end": 1.0, T: 0.1, "loss.start": 0.07, "loss.end": 0.07},
    ),
    "wmse": Recipe(
        *(SOLO, "1024 BN ReLU 64", "-", solo("adam", 2e-3, 1e-6)._replace(scaling=None)),
        Views(0.2, (0.8, 0.8, 0.8, 0.8, 0.2), interpolation="bicubic"),
        {"loss.whitening_size": 128},
    ),
    "supcon": Recipe(SOLO, TWO, "-", solo("sgd", 0.4, 1e-5), SYM, {T: 0.2}),
    # The authors' own code
    "dcl": Recipe(OF_DCL, "512 BN ReLU 128", "-", DCL, None, {T: 0.1}),
    "dclw": Recipe(OF_DCL, "512 BN ReLU 128", "-", DCL, None, {T: 0.1, "loss.sigma": 0.5}),
    "sogclr": Recipe(OF_ISOGCLR, "8192 BN ReLU 8192 BN ReLU 8192", "-", ISOGCLR, MOCO_V2, FLOOR),
    "isogclr": Recipe(
        *(OF_ISOGCLR, "8192 BN ReLU 8192 BN ReLU 8192", "-", ISOGCLR, MOCO_V2),
        FLOOR
        | {"loss.gamma": 0.8, f"{T}.start": 0.1, f"{T}.low": 0.05, f"{T}.high": 1.0}
        | {f"{T}.rho": 0.4, f"{T}.eta": 0.03, f"{T}.beta": 0.5},
    ),
    "mv_infonce": Recipe(OF_MULTIVIEW, "512 BN ReLU 128 BN(scale)", "-", MULTIVIEW, SHARP, {T: 0.5}),
    "mv_dhel": Recipe(OF_MULTIVIEW, "512 BN ReLU 128 BN(scale)", "-", MULTIVIEW, SHARP, {T: 0.5}),
    "cacr": Recipe(  # on an AlexNet, whose head is its own
        *(OF_CACR, None, "-", Schedule("sgd", 0.12, "linear", 1e-4, None, 200, 128), CACR),
        {"views.count": 5, "loss.positive_scale": 1.0, "loss.negative_scale": 0.9}
        | {"optim.milestones": [155 / 200, 170 / 200, 185 / 200], "optim.drop": 0.1},
    ),
    "cacr_moco": Recipe(
        *(OF_CACR, "2048 ReLU 128", "-", Schedule("sgd", 0.03, None, None, None, None, 256), MOCO_V2),
        {"views.count": 5, QUEUE: 65536, "loss.positive_scale": 1.0, "loss.negative_scale": 2.0}
        | {"loss.attraction": 1.0, "loss.repulsion": 1.0, "loss.detach_weights": True, "latent.queue.views": [4]},
    ),
    "hard_infonce": Recipe(
        *("Wang & Liu 2021", "128", "-", Schedule("sgd", 0.03, None, None, None, 200, 128), None),
        {"loss.keep.k": 4095},
    ),
    "mochi": Recipe("Kalantidis et al. 2020, on MoCo v2", "2048 ReLU 128", "-", None, MOCO_V2),
    "ft": Recipe(
        "DTennant/CL-Visualizing-Feature-Transformation: README, options",
        *("2048 ReLU 128", "-", Schedule("sgd", 0.03, None, None, None, 200, 256), MOCO_V2),
        {T: 0.2, QUEUE: 65536, "latent.ft.positive_alpha": 2.0, "latent.ft.negative_alpha": 1.6, **CONSTANT},
    ),
    "groco": Recipe(  # its rates are 24 at a batch of 1024
        *("ninatu/learning_by_sorting: configs, train.py", f"{THREE} BN(fixed)", "-"),
        *(Schedule("sgd", 6.0, "linear", 1e-6, 1, 100, None), BYOL._replace(crops=0.14)),
        {"loss.k_neg": 10, "loss.steepness": 1.0},
    ),
    "pixpro": Recipe(OF_PIXPRO, BYOL_MLP, "256", PIXPRO, BYOL, {"predictor.gamma": 2.0, "loss.radius": 0.7, **EMA}),
    "pixpro_instance": Recipe(
        *(OF_PIXPRO, {"dense": BYOL_MLP, "instance": BYOL_MLP}, {"dense": "256", "instance": BYOL_MLP}, PIXPRO, BYOL),
        EMA,
    ),
    "pixcontrast": Recipe(OF_PIXPRO, BYOL_MLP, "-", PIXPRO, BYOL, {"loss.radius": 0.7, **EMA}),
    "amcl_simclr": Recipe(OF_AMCL, MULTI, "-", amcl(0.06), OPEN_SHARP),
    "amcl_moco": Recipe(
        *(OF_AMCL, MULTI, "-", amcl(0.08), OPEN_SHARP),
        {QUEUE: 4096, "teacher.start": 0.99, "teacher.end": 0.99},
    ),
    "amcl_simsiam": Recipe(OF_AMCL, None, None, amcl(0.05), OPEN_SHARP, {"predictor.heads": 3}),
    "amcl_barlow": Recipe(OF_AMCL, MULTI, "-", amcl(0.11), OPEN_SHARP, {"loss.off_diagonal": 0.005}),
    "hallucinator_moco": Recipe(
        *(OF_HALLUCINATOR, "512 ReLU 128", "-", HALLUCINATOR, CENTRE),
        {T: 0.2, QUEUE: 65536, "latent.hallucinator.reach": 0.1, **CONSTANT, **SUPPRESSED},
    ),
    "hallucinator_simclr": Recipe(
        *(OF_HALLUCINATOR, "512 ReLU 128", "-", HALLUCINATOR, CENTRE),
        {"latent.hallucinator.reach": 0.1, **SUPPRESSED},
    ),
    "hallucinator_simsiam": Recipe(
        *(OF_HALLUCINATOR, None, None, HALLUCINATOR, CENTRE),
        {"head.dim": 512, "latent.hallucinator.reach": 0.1, **SUPPRESSED},
    ),
    "simlap": Recipe(
        *("erow/vitookit: doc/simlap.md", "2048 BN ReLU 256 LN", "-"),
        *(Schedule("adam", 1e-3, None, 5e-4, 2, 50, 256), None),
        {"views.scale": [0.7, 1.0]},
    ),
    "simlap_moco": Recipe(
        *(OF_SIMLAP, "4096 BN ReLU 4096 BN ReLU 256 LN", BYOL_MLP, solo("lars", 0.3, 1e-6)),
        ASYM._replace(crops=0.2),
        {f"loss.losses.classes.{key}": value for key, value in (("gate_epochs", 10.0), ("temperature.start", 1 / 20))}
        | {"loss.losses.instances.temperature": 0.2, "loss.weights": {"instances": 0.5, "classes": 0.5}, **EMA},
    ),
    "adainf_simclr": Recipe(OF_ADAINF, TWO, "-", adainf("lars", 0.2, 1e-4), ADAINF, {T: 0.2, "data.copies": 10}),
    "simclr_inflated": Recipe(OF_ADAINF, TWO, "-", adainf("lars", 0.2, 1e-4), SYM, {T: 0.2, "data.copies": 1}),
    "adainf_moco": Recipe(
        *(OF_ADAINF, TWO, "-", adainf("sgd", 0.15, 1e-4), ADAINF),
        {"data.copies": 10, **MOCO_PLUS},
    ),
    "adainf_byol": Recipe(
        *(OF_ADAINF, BYOL_MLP, BYOL_MLP, adainf("lars", 0.5, 1e-5), ADAINF_ASYM),
        {"data.copies": 10, **EMA},
    ),
    "adainf_barlow": Recipe(
        *(OF_ADAINF, THREE, "-", adainf("lars", 0.15, 1e-4), ADAINF_ASYM),
        {"data.copies": 10, "loss.scale": 0.1},
    ),
}
# GenView (xiaojieli0903/genview) on a recipe of the table: a partner in one view of each image, and weights of pairs.
GENVIEW = {f"genview_{base}": base for base in ("byol", "mocov3", "simclr", "simsiam", "swav")}
NO_SOURCE = {
    "demo": "an example of ours",
    "hallucinator_byol": "neither the paper nor its code has BYOL",
    "mcl": "the paper's settings for images alone and from scratch are not published; the base has its own row",
}
