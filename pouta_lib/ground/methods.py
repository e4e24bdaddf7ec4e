"""The methods: what each is called, how it is made and used, and what its results are like.

All that depends on the method is asked of its entry here. Other modules name none but the rows of
Table V, where the paper does: Table IV is POUTA's, figure 3 shows POUTA and Vanilla; and a detector
knows that a pair has two members. So a method is added by its module and its entry:

1. a module in ``pouta_lib/method/models/`` with a function ``build(method, profile)``: the network
   with fresh weights, or an empty memory. ``model(image)`` maps ``(B, 3, H, W)`` in [0, 1] to an
   anomaly map ``(B, H, W)``; ``model.state_dict()`` is all that has to be kept. A method that
   ``rebuilds`` images has ``model.reconstructive(image)["I_r"]``, and one that Grad-CAM is to look
   into ``model.seen_by_scale()``, the layers to look at;
2. where it is trained in steps: ``model.trace(image)`` gives the tensors that its losses look at.
   Where its batches, losses or rates are its own: a ``recipe``, which is a
   :class:`pouta_lib.method.training.Recipe`; where its number of steps is: ``steps``. Where it is
   not trained in steps: a ``fit`` with the signature of :func:`pouta_lib.method.training.fit`, and
   ``steps=None``;
3. where its image score is not the pooled maximum of its map: a ``detect(model, images, profile,
   compute)`` that gives both, as :func:`pouta_lib.score.evaluation.detect` does, and a
   ``deployed(model, profile)``: a module from ``(B, 3, H, W)`` in [0, 1] to both, which
   `pouta export` can write down;
4. its :class:`Method` in :data:`METHODS`, at its place in the tables, and its row in
   docs/GLOSSARY.md.

Functions are named as ``"module:function"`` and imported when they are called for: this module
imports no torch.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from pouta_lib.ground.errors import did_you_mean, problem

if TYPE_CHECKING:  # a profile checks its method's name here
    from pouta_lib.ground.profiles import Profile

TRAIN_NOTEBOOK = "05_train_category"


class Modules(NamedTuple):
    """Which of the paper's three modules a row of Table V has."""

    fcm: bool = False  # told by the table alone: what POUTA's builder makes always has it
    hsg: bool = False
    mss: bool = False


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method; the defaults are those of a network that is trained in steps."""

    id: str  # in run keys, folders and records, on the command line and in the tables' CSV files
    title: str  # what readers see; the paper's word where it has one
    build: str  # (method, profile) -> nn.Module
    fit: str = "pouta_lib.method.training:train"
    recipe: str = "pouta_lib.method.training:PAPER"  # what its training steps are made of
    # (profile, number of images, shots) -> optimiser steps; None: not trained in steps
    steps: str | None = "pouta_lib.method.training:num_steps"
    detect: str = "pouta_lib.score.evaluation:detect_by_map"
    deployed: str = "pouta_lib.score.evaluation:MapAndScore"
    notebook: str = TRAIN_NOTEBOOK  # the one that makes its runs
    modules: Modules | None = None  # its ticks in Table V; None: it has no row there
    compared: bool = False  # a measured row of Tables I to III (D47)
    published: str = "resized to 224 px, 600 epochs, batch 8; seeds not stated"  # as IV-A has it
    rebuilds: bool = True  # gives a repaired image I_r
    bounded: bool = True  # its map is a probability; else a distance without an upper bound
    backbone: bool = False  # stands on the profile's pretrained backbone, and names it
    precision: str | None = None  # the only one it is computed in; None: the profile's
    halvings: int = 4  # of an image's side, down to its coarsest level
    warm_start: bool = False  # can begin with weights that were trained before (D44)
    candidate: bool = False  # what `pouta fit` tries where no method is asked for
    asked: bool = False  # what notebook 18 holds POUTA against (D43)
    members: tuple[str, ...] = ()  # of a pair: what it is joined from

    @property
    def trained(self) -> bool:
        """Whether it is trained in optimiser steps, whose time can be foretold."""
        return self.steps is not None

    def num_steps(self, profile: "Profile", num_images: int, shots: int | None = None) -> int:
        """Optimiser steps of a run; 0 where it is not trained in steps."""
        return 0 if self.steps is None else int(resolve(self.steps)(profile, num_images, shots))


_POUTA = "pouta_lib.method.models.pouta:build"
_ALL = (  # in the order of the rows of Tables I to III
    Method(
        id="pouta",
        title="POUTA",
        build=_POUTA,
        modules=Modules(True, True, True),
        compared=True,
        warm_start=True,
        candidate=True,
    ),
    Method(
        id="vanilla",
        title="Vanilla",
        build="pouta_lib.method.models.vanilla:build",
        modules=Modules(),
        compared=True,
        halvings=5,
    ),
    Method(
        id="draem",
        title="DRAEM",
        build="pouta_lib.method.models.draem:build",
        recipe="pouta_lib.method.draem_training:RECIPE",
        steps="pouta_lib.method.draem_training:num_steps",
        compared=True,
        halvings=5,
        published="DRAEM's protocol not stated",
    ),
    Method(
        id="patchcore",
        title="PatchCore",
        build="pouta_lib.method.models.patchcore:build",
        fit="pouta_lib.method.models.patchcore:fit",
        detect="pouta_lib.method.models.patchcore:detect",
        deployed="pouta_lib.method.models.patchcore:ByProducts",
        notebook="07_patchcore",
        compared=True,
        published="PatchCore's official code, 1 % coreset; size and backbone not stated",  # IV-B
        steps=None,
        rebuilds=False,
        bounded=False,
        backbone=True,
        precision="fp32",
        candidate=True,
    ),
    Method(
        id="pouta+patchcore",
        title="POUTA + PatchCore",
        build="pouta_lib.method.models.pair:build",
        fit="pouta_lib.method.models.pair:fit",
        detect="pouta_lib.method.models.pair:detect",
        deployed="pouta_lib.method.models.pair:DeployedPair",
        bounded=False,
        backbone=True,
        candidate=True,
        members=("pouta", "patchcore"),
    ),
    Method(id="base", title="POUTA-base", build=_POUTA, modules=Modules(fcm=True)),
    Method(id="base+hsg", title="POUTA-base+HSG", build=_POUTA, modules=Modules(True, hsg=True)),
    Method(id="base+mss", title="POUTA-base+MSS", build=_POUTA, modules=Modules(True, mss=True)),
    Method(
        id="pouta-apart",
        title="POUTA, trained apart",
        build="pouta_lib.method.models.questions:build_apart",
        asked=True,
    ),
    Method(
        id="pouta-mss-alone",
        title="POUTA, MSS alone",
        build="pouta_lib.method.models.questions:build_supervised",
        recipe="pouta_lib.method.models.questions:MSS_ALONE",
        asked=True,
    ),
    Method(
        id="pouta-weighted",
        title="POUTA, classes weighted",
        build="pouta_lib.method.models.questions:build_whole",
        recipe="pouta_lib.method.models.questions:WEIGHTED",
    ),
    Method(
        id="pouta-seamless",
        title="POUTA, cloned seamlessly",
        build="pouta_lib.method.models.questions:build_whole",
        recipe="pouta_lib.method.models.questions:SEAMLESS",
    ),
    Method(
        id="pouta-slow-statistics",
        title="POUTA, slow statistics",
        build="pouta_lib.method.models.questions:build_slow_statistics",
    ),
    Method(
        id="pouta-frozen",
        title="POUTA, statistics frozen",
        build="pouta_lib.method.models.questions:build_whole",
        recipe="pouta_lib.method.models.questions:FROZEN",
    ),
    Method(
        id="pouta-wide-below",
        title="POUTA, wide below",
        build="pouta_lib.method.models.questions:build_wide_below",
    ),
    Method(
        id="pouta-three-levels",
        title="POUTA, three levels",
        build="pouta_lib.method.models.questions:build_three_levels",
        halvings=3,
    ),
)
METHODS = {method.id: method for method in _ALL}
COMPARED = tuple(method.id for method in _ALL if method.compared)
CANDIDATES = tuple(method.id for method in _ALL if method.candidate)
ASKED = tuple(method.id for method in _ALL if method.asked)
BACKBONE_TITLES = {  # what readers call the pretrained networks that a profile can name (D22)
    "efficientnet_lite0": "EfficientNet-Lite0",
    "wide_resnet50_2": "WideResNet50",
    "resnet18": "ResNet18",
}
_FEWEST_FIRST = sorted(_ALL, key=lambda method: sum(method.modules or ()))
ABLATED = tuple(method.id for method in _FEWEST_FIRST if method.modules is not None)  # Table V


def find_method(name: str) -> Method:
    """The method with this id. *Raises* :class:`PoutaError` for another name, with the list."""
    if name not in METHODS:
        todo = did_you_mean(name, METHODS)
        raise problem(f"a method out of {list(METHODS)}", repr(name), "method (variant)", todo)
    return METHODS[name]


def require_notebook(method: str, notebook: str) -> None:
    """*Raises* :class:`PoutaError` in a notebook that does not make runs of this method."""
    own = find_method(method).notebook
    if own != notebook:
        here = [other.id for other in _ALL if other.notebook == notebook]
        raise problem(f"a variant out of {here}", repr(method), notebook, f"open {own}.ipynb")


def resolve(name: str) -> Any:
    """What ``"module:function"`` names."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
