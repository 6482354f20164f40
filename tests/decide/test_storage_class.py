"""What a StorageClass says of its volumes."""

import pytest

from holdfast.decide import storage_class
from holdfast.model.copying import ClassSettings
from holdfast.model.intent import PREFIX, CopyMethod, Problem


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, ClassSettings()),
        ({"copy-method": "direct"}, ClassSettings(copy_method=CopyMethod.DIRECT)),
        ({"copy-method": " Snapshot "}, ClassSettings(copy_method=CopyMethod.SNAPSHOT)),
        ({"snapshot-class": "gold"}, ClassSettings(snapshot_class="gold")),
        (
            {"access-modes": "ReadOnlyMany, ReadWriteOnce"},
            ClassSettings(access_modes=("ReadOnlyMany", "ReadWriteOnce")),
        ),
        ({"alias": "false"}, ClassSettings(alias=False)),
        ({"alias": "True", "copy-method": "", "snapshot-class": " "}, ClassSettings()),
        ({"unknown": "1"}, ClassSettings()),
    ],
)
def test_settings_of_a_class_are_read(written: dict[str, str], expected: ClassSettings) -> None:
    assert storage_class.read("fast", {PREFIX + key: value for key, value in written.items()}) == expected


@pytest.mark.parametrize(("key", "value"), [("copy-method", "clone"), ("alias", "no"), ("access-modes", "ReadOnly")])
def test_a_setting_that_cannot_be_read_is_named_and_no_default_stands_in(key: str, value: str) -> None:
    found = storage_class.read("fast", {PREFIX + key: value})
    assert isinstance(found, Problem)
    assert f"{PREFIX}{key} of StorageClass fast: {value!r}" in str(found)
