"""Every command and option, against an inventory: an option is a decision."""

from commandline import all_commands

INVENTORY = {
    "align": "device imposters json model out set settings",
    "analyze classify": "contamination converters eps feature json min_samples model normal_class pool remap_by_order "
    "split task test test_split train",
    "analyze export": "dataset json out path shard_size split",
    "analyze import": "dataset dtype json out path split with_labels",
    "analyze inspect": "dataset json key limit path samples split statistics",
    "analyze labels": "dataset expected json path shown split",
    "analyze plot": "by classes converters json method out paths pool split",
    "classify": "batch_size device json model top videos",
    "colorize": "device json matched model out reference saturation videos",
    "convert": "force json layout model out source system",
    "demo": "folder pairs set",
    "detect": "across_classes batch_size confidence device formats inputs iol json model most no_pictures original out "
    "overlap_threshold settings size suppression",
    "evaluate": "base batch_size confidence data data_range device json limit model original out overlap "
    "overlap_threshold per_image set split suppression target",
    "export": "force json model onnx out raw settings size",
    "features compute": "allow device estimate json plan set stage workers",
    "features list": "json",
    "features prune": "json keep",
    "features verify": "json repair",
    "fuse": "batch_size device infrared json mode model settings out overlap visible",
    "inspect": "arrays file json system",
    "lineage": "file json",
    "match": "dense device far fingernet gallery json model no_alignment out prints settings threshold top turn",
    "plan": "allow explain json plan runs set",
    "report": "out run",
    "run": "allow device json once out plan quiet set stages",
    "status": "json run",
    "sweep": "allow device json out plan quiet set",
    "systems": "json name",
    "verify": "device json metric run",
}


def test_the_inventory_of_commands_and_options():
    found = {
        name: " ".join(sorted(p.name.rstrip("_") for p in one.params if p.name != "help"))
        for name, one in all_commands().items()
    }
    assert found == {name: " ".join(sorted(options.split())) for name, options in INVENTORY.items()}
    assert len(found) == 29


def test_every_command_and_option_has_help():
    for name, one in all_commands().items():
        assert one.help, name
        assert all(p.help for p in one.params), (name, [p.name for p in one.params if not p.help])
