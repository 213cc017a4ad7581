"""The chain LoFTR, dense registration, matcher: each arrow is a transfer, to the bit and with an account."""

import pytest

from gradatim.engine.run import checked_plan
from gradatim.find import read_plan_document
from gradatim.plan import override


@pytest.mark.parametrize("name", ["paper", "small"])
def test_each_stage_gets_the_sizes_of_its_own_pictures(name):
    document = override(read_plan_document(f"ifvit/{name}"), ["model.dense_size=96", "model.match_size=160"])

    plan, system, _ = checked_plan(document)

    model = system.settings.model_validate(dict(plan.model))
    dense, matcher = (system.data.settings.model_validate(dict(stage.data)) for stage in plan.stages)
    assert (dense.size, matcher.size) == (96, 160)
    assert (matcher.roi, matcher.enhance) == (model.roi_size, model.enhance)
