from pathlib import Path

from tools.image import archive


def test_equal_content_makes_equal_archives(tmp_path: Path) -> None:
    written = []
    for name in ("one", "other"):
        layer = tmp_path / name / "layer"
        for directory in ("b", "a") if name == "one" else ("a", "b"):
            (layer / directory).mkdir(parents=True)
            (layer / directory / "file").write_text("content")
        (layer / "link").symlink_to("a/file")
        target = tmp_path / name / "image.tar"
        archive.write("localhost/test:1", target, layers=[layer], settings={"Cmd": ["true"]})
        written.append(target.read_bytes())
    assert written[0] == written[1]


def test_nothing_but_the_archive_is_left(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    archive.write("localhost/test:1", tmp_path / "image.tar", layers=[layer], settings={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tar", "layer"]
