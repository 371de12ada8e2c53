"""The architecture is read from the source: bodies of leaves, imports between boxes, floors."""

import pandas as pd
import pytest

from lambdascale.errors import ConfigError
from lambdascale.experiments import architecture as study
from lambdascale.experiments import components
from lambdascale.figures import architecture, style
from lambdascale.figures.architecture_layout import BOXES, FRAMES, Place, facing


def test_nothing_imports_from_a_higher_floor():
    assert components.upward().to_dict("records") == []


def test_every_module_is_on_a_floor():
    assert {components.floor_of(name) for name in components.trees() if name} == set(range(7))


def test_a_module_on_no_floor_is_named():
    with pytest.raises(ConfigError, match="attic is on no floor"):
        components.floor_of("attic.box")


def test_every_leaf_has_a_real_and_a_simulated_body():
    found = components.bodies()
    assert set(found["leaf"]) == set(components.LEAVES)
    for leaf, mine in found.groupby("leaf"):
        assert set(mine["kind"]) == {"real", "simulated"}, leaf
    assert {"ShmTransport", "TcpTransport", "SimTransport"} <= set(found["body"])
    assert "StreamTransport" not in set(found["body"]), "a base, no body"


def test_imports_are_those_of_the_source():
    found = set(components.imports().itertuples(index=False, name=None))
    assert ("cluster.agent", "control.base") in found
    assert ("workload.named", "workload.catalogue") in found
    assert not [pair for pair in found if pair[0] == pair[1]]


def test_the_manager_plans_and_gives_orders_and_the_node_moves_and_computes():
    uses = study.uses().set_index(["user", "used"])["imports"]
    for user, used in (
        ("model scaling controller", "multicast"),
        ("pipeline execution controller", "pipeline"),
        ("global resources", "control"),
        ("node controller", "control"),
        ("transfer module", "transport"),
        ("inference module", "engine"),
        ("model manager", "storage"),
    ):
        assert uses[user, used] > 0
    assert ("global resources", "transport") not in uses, "the controller moves no bytes"
    assert not [pair for pair in uses.index if pair[0] in components.LEAVES and pair[1] in FRAMES]


def test_a_module_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study, "PARTS", (study.Part("old", "leaf", ("cluster.gone",)),))
    with pytest.raises(ConfigError, match=r"old names the module cluster\.gone, which is gone"):
        study.parts()


def test_every_part_has_a_place_and_none_overlaps_another():
    places = [BOXES[name] for name in study.parts()["part"]]
    assert len(places) == len(BOXES)
    for number, a in enumerate(places):
        for b in places[:number]:
            apart = a.right <= b.x or b.right <= a.x or a.top <= b.y or b.top <= a.y
            assert apart, (a, b)


def test_boxes_face_each_other_across_a_gap():
    low, high, beside = Place(0, 0, 10, 4), Place(4, 7, 10, 4), Place(12, 1, 5, 4)
    assert facing(high, low) == ((7, 7), (7, 4))
    assert facing(low, high) == ((7, 4), (7, 7))
    assert facing(low, beside) == ((10, 2.5), (12, 2.5))
    assert facing(low, Place(0, 40, 10, 4)) is None


def test_the_figure_names_every_part_and_body_and_is_the_same_twice(tmp_path):
    parts, uses, bodies = study.parts(), study.uses(), components.bodies()
    sheet = architecture.draw(parts, uses, bodies)
    texts = " ".join(text.get_text() for text in sheet.axes[0].texts)
    for name in [*parts.loc[parts["place"] != "leaf", "part"], *bodies["body"]]:
        assert name in texts
    one, other = (
        style.save(architecture.draw(parts, uses, bodies), tmp_path / name) for name in "ab"
    )
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_a_part_without_a_place_is_refused():
    parts = study.parts()
    more = pd.concat([parts, parts[:1].assign(part="a cache")])
    with pytest.raises(ConfigError, match="part 'a cache' has no place"):
        architecture.draw(more, study.uses(), components.bodies())
