"""lean.stand_ins: names are taken while the stage is open, and free again afterwards, whatever happened."""

from __future__ import annotations

import sys
import types

import pytest

from jupyterhub4family.lean import stand_ins
from jupyterhub4family.lean.stand_ins import Later, Stage, StandIn, Surprise


def test_a_stand_in_offers_names_and_goes() -> None:
    sys.modules.pop("colorsys", None)
    with Stage({"colorsys": {"ONE": 1}}):
        import colorsys

        assert isinstance(colorsys, StandIn) and vars(colorsys)["ONE"] == 1
    assert "colorsys" not in sys.modules
    assert colorsys.rgb_to_hls(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0), "who kept it gets the real names"
    assert type(sys.modules["colorsys"]) is types.ModuleType


def test_a_module_that_is_there_already_is_left_alone() -> None:
    import json

    with Stage({"json": {}}):
        assert sys.modules["json"] is json
    assert sys.modules["json"] is json


@pytest.mark.parametrize("name", ["no_such_package", "json.no_such_module", "colorsys.inside", "no.such.thing"])
def test_nothing_stands_in_for_what_is_not_installed(name: str) -> None:
    with Stage({name: {"thing": 1}}):
        with pytest.raises(ImportError):
            __import__(name)
    assert name not in sys.modules


def test_what_is_in_a_package_is_found_without_running_it() -> None:
    assert stand_ins.find("xmlrpc.client") is not None
    assert stand_ins.find("colorsys") is not None


@pytest.mark.parametrize("swallow", [False, True])
def test_a_name_that_is_not_offered_is_a_surprise(swallow: bool) -> None:
    sys.modules.pop("colorsys", None)
    with pytest.raises(Surprise, match=r"colorsys\.rgb_to_hls is needed"):
        with Stage({"colorsys": {}}):
            try:
                from colorsys import rgb_to_hls  # noqa: F401
            except BaseException:
                if not swallow:
                    raise
    assert "colorsys" not in sys.modules


def test_what_is_deferred_is_a_surprise_when_it_is_called_at_once() -> None:
    sys.modules.pop("colorsys", None)
    with pytest.raises(Surprise, match="colorsys is needed at the start"):
        with Stage({"colorsys": {"rgb_to_hls": stand_ins.deferred("colorsys", "rgb_to_hls")}}):
            from colorsys import rgb_to_hls

            rgb_to_hls(0.0, 0.0, 0.0)
    assert rgb_to_hls(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)


def test_what_goes_wrong_inside_is_not_hidden() -> None:
    sys.modules.pop("colorsys", None)
    with pytest.raises(KeyError):
        with Stage({"colorsys": {}}):
            raise KeyError
    assert "colorsys" not in sys.modules


def test_a_real_module_that_took_the_place_stays() -> None:
    sys.modules.pop("colorsys", None)
    with Stage({"colorsys": {}}):
        real = types.ModuleType("colorsys")
        sys.modules["colorsys"] = real
    assert sys.modules.pop("colorsys") is real


def test_later_is_made_once_and_only_when_asked() -> None:
    made = []

    def make() -> types.SimpleNamespace:
        made.append(1)
        return types.SimpleNamespace(limit=len(made))

    later = Later(make)
    hash(later)
    assert made == []
    assert (later.limit, later.limit, made) == (1, 1, [1])
    with pytest.raises(AttributeError):
        _ = later.nonsense


def test_nothing_that_is_no_package_is_put_to_sleep() -> None:
    for name in ("no_such_package_at_all", "colorsys"):
        sys.modules.pop(name, None)
        stand_ins.put_to_sleep(name)
        assert name not in sys.modules
    stand_ins.put_to_sleep("json")
    assert type(sys.modules["json"]) is types.ModuleType, "it is awake already"
