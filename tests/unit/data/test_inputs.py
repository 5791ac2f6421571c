"""Whatever file inputs stand in, and however it is cut, they are the same; what can't be read is told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nnray.data import input_csv, input_pieces
from nnray.data.input_files import read_piece
from nnray.data.input_pieces import Piece
from nnray.data.inputs import Inputs, read_inputs
from nnray.data.splits import DataInfo
from nnray.errors import DataError

IMAGES = DataInfo("images", (1, 4, 6), ("a", "b"))
COLOURS = DataInfo("colours", (3, 4, 6), ("a", "b"))
ROWS = DataInfo("rows", (3,), ("a", "b"))
GAPS = DataInfo("gaps", (3,), ("a", "b"), missing=True)
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 4, 6), dtype=np.uint8)
Lines = Callable[..., Path]


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """Writes a CSV file of three columns and a label."""

    def write(*rows: str, header: str = "a,b,c,label", end: str = "\n") -> Path:
        path = tmp_path / "rows.csv"
        path.write_bytes((end.join([header, *rows]) + end).encode())
        return path

    return write


def picture(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def problems(inputs: Inputs) -> dict[str, str]:
    """What could not be read, where the rest is gone on with."""
    inputs.skip_unreadable = True
    names = inputs.collect().names
    told = {each.name: each.reason for each in inputs.tally.unreadable}
    assert not told.keys() & set(names)
    return told


def small_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(input_csv, "BLOCK_BYTES", size)
    monkeypatch.setattr(input_pieces, "BLOCK_BYTES", size)


def write_csv(folder: Path) -> Path:
    flat = PIXELS.reshape(7, -1)
    np.savetxt(
        folder / "x.csv", flat, fmt="%d", delimiter=",", header=",".join(map(str, range(24))), comments=""
    )
    return folder / "x.csv"


def write_columns(folder: Path) -> Path:
    flat = PIXELS.reshape(7, -1)
    pq.write_table(pa.table({str(i): flat[:, i] for i in range(24)}), folder / "x.parquet", row_group_size=3)
    return folder / "x.parquet"


def write_lists(folder: Path) -> Path:
    rows = pa.array(PIXELS.reshape(7, -1).tolist(), pa.list_(pa.uint8()))
    pq.write_table(pa.table({"pixels": rows}), folder / "l.parquet")
    return folder / "l.parquet"


def write_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "x.npz", x=PIXELS, y=np.zeros(7))
    return folder / "x.npz"


def write_floats(folder: Path) -> Path:
    np.savez(folder / "f.npz", x=(PIXELS[:, None].astype(np.float32) / 255))
    return folder / "f.npz"


def write_channels_last(folder: Path) -> Path:
    np.savez(folder / "h.npz", x=PIXELS[..., None])
    return folder / "h.npz"


def write_pictures(folder: Path) -> Path:
    for number, pixels in enumerate(PIXELS):
        picture(folder / "pictures" / f"{number}.png", pixels)
    return folder / "pictures"


FORMS = [
    write_csv, write_columns, write_lists, write_npz, write_floats, write_channels_last, write_pictures,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_inputs_are_the_same_from_any_form(form: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_inputs([form(tmp_path)], IMAGES).collect()
    assert torch.equal(found.inputs, torch.from_numpy(PIXELS[:, None]).float().div_(255))
    assert len(set(found.names)) == 7


@pytest.mark.parametrize("size", [40, 100, 333, 1 << 20])
@pytest.mark.parametrize("form", FORMS)
def test_inputs_are_the_same_however_files_are_cut(
    form: Callable[[Path], Path], size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = form(tmp_path)
    whole = read_inputs([path], IMAGES).collect()
    small_blocks(monkeypatch, size)
    cut = read_inputs([path], IMAGES)
    assert torch.equal(cut.collect().inputs, whole.inputs)
    assert cut.collect().names == whole.names
    assert max(len(block.names) for block in cut) <= max(1, size // (4 * 24))


@pytest.mark.parametrize("form", FORMS)
def test_a_piece_gives_the_same_elsewhere(form: Callable[[Path], Path], tmp_path: Path) -> None:
    inputs = read_inputs([form(tmp_path)], IMAGES)
    sent = [json.loads(json.dumps(asdict(piece))) for piece in inputs.pieces()]
    pieces = [Piece(**values | {"paths": tuple(values["paths"])}) for values in sent]
    values = np.concatenate([part.values for piece in pieces for part in read_piece(piece, inputs.reading)])
    assert np.array_equal(values, inputs.collect().inputs.numpy())


@given(
    rows=st.lists(
        st.one_of(
            st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 3), st.sampled_from(["", "1,2", "x,1,2", "1,,2"])
        ),
        min_size=1,
        max_size=30,
    ),
    size=st.integers(10, 200),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_csv_is_read_as_line_by_line(
    rows: list[Any], size: int, end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = [row if isinstance(row, str) else ",".join(map(repr, row)) for row in rows]
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(end.join(["a,b,c", *written]).encode())
    filled = [row for row, text in zip(rows, written, strict=True) if text]
    expected = {f"{path}:{at}": row for at, row in enumerate(filled) if not isinstance(row, str)}
    if not expected:
        return
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, size)
        found = read_inputs([path], ROWS, skip_unreadable=True)
        block = found.collect()
    assert block.names == list(expected)
    assert torch.equal(block.inputs, torch.tensor(list(expected.values()), dtype=torch.float32))
    assert len(found.tally.unreadable) == len(filled) - len(expected)


def test_files_come_in_their_order_and_folders_by_name(tmp_path: Path) -> None:
    for name in ("p/b.png", "p/a/z.png", "p/.hidden/x.png", "p/.x.png", "first.png"):
        picture(tmp_path / name, PIXELS[0])
    (tmp_path / "p" / "notes.txt").write_text("not an input")
    found = read_inputs([tmp_path / "first.png", tmp_path / "p"], IMAGES).collect()
    assert [str(Path(name).relative_to(tmp_path)) for name in found.names] == [
        "first.png",
        "p/b.png",
        "p/a/z.png",
    ]


def test_colours_are_the_models_and_a_person_is_told(tmp_path: Path) -> None:
    colour = np.stack([PIXELS[0]] * 3, axis=-1)
    inputs = read_inputs(
        [picture(tmp_path / "c.png", colour), picture(tmp_path / "g.png", PIXELS[0])], IMAGES
    )
    one, other = inputs.collect().inputs
    assert torch.equal(one, other)
    assert inputs.tally.words() == ["1 picture(s) were changed from colour to grey, as the model takes them"]
    assert read_inputs([tmp_path / "g.png"], COLOURS).collect().inputs.shape == (1, 3, 4, 6)


def test_pictures_are_scaled_only_where_that_is_asked_for(tmp_path: Path) -> None:
    path = picture(tmp_path / "large.png", np.full((8, 12), 51, np.uint8))
    with pytest.raises(DataError, match=r"large.png: is 8 x 12 pixels.*takes 4 x 6.*--resize"):
        read_inputs([path], IMAGES).collect()
    found = read_inputs([path], IMAGES, resize=True).collect().inputs
    assert torch.equal(found, torch.full((1, 1, 4, 6), 0.2))


def test_all_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", PIXELS[0])
    (tmp_path / "b.png").write_text("no picture")
    whole = picture(tmp_path / "c.png", PIXELS[1]).read_bytes()
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 input\(s\) can't be read") as raised:
        read_inputs([tmp_path], IMAGES).collect()
    assert "b.png: is no picture" in str(raised.value) and "c.png: is no whole picture" in str(raised.value)
    inputs = read_inputs([tmp_path], IMAGES, skip_unreadable=True)
    assert inputs.collect().names == [str(tmp_path / "a.png")]
    assert len(inputs.tally.unreadable) == 2


def test_no_more_is_told_than_can_be_read(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.png").write_text("no")
    with pytest.raises(DataError, match="can't be read") as raised:
        read_inputs([tmp_path], IMAGES).collect()
    assert str(raised.value).count("\n") == 20
    assert str(raised.value).startswith("at least ")


def test_nothing_comes_after_what_cannot_be_read(tmp_path: Path) -> None:
    bad, good = tmp_path / "a.png", tmp_path / "b.png"
    bad.write_text("no")
    picture(good, PIXELS[0])
    names: list[str] = []
    blocks = iter(read_inputs([bad, *[good] * 600], IMAGES))
    with pytest.raises(DataError):
        names += next(blocks).names
    assert names == []


def test_bad_rows_are_named_with_their_column(lines: Lines) -> None:
    path = lines("1,2,3,x", "4,oops,6,y", "7,8", "", ",1,2,z", "inf,2,3,q", "1,1,1,x")
    told = problems(read_inputs([path], ROWS, label="label"))
    assert told == {
        f"{path}:1": "column b has 'oops', which is no number",
        f"{path}:2": "has 2 values; expected 4",
        f"{path}:3": "column a is empty; fill it in",
        f"{path}:4": "holds inf; allowed: finite numbers",
    }


def test_what_is_missing_is_nan_where_the_model_takes_that(lines: Lines) -> None:
    path = lines("1,,3,x", "NaN,2,3,y", "1,inf,3,z")
    inputs = read_inputs([path], GAPS, label="label", skip_unreadable=True)
    found = inputs.collect().inputs
    assert torch.equal(found.isnan(), torch.tensor([[False, True, False], [True, False, False]]))
    assert [each.name for each in inputs.tally.unreadable] == [f"{path}:2"]
    table = pa.table({"a": [1.0, None], "b": [None, 2], "c": [0, 1]})
    pq.write_table(table, path.with_suffix(".parquet"))
    again = read_inputs([path.with_suffix(".parquet")], GAPS).collect().inputs
    assert torch.equal(again.isnan(), torch.tensor([[False, True, False], [True, False, False]]))


def test_columns_are_taken_by_name_in_the_models_order(lines: Lines) -> None:
    path = lines("1,2,3,4", "5,6,7,8")
    found = read_inputs([path], ROWS, label="label", columns=["c", "a", "label"]).collect()
    assert found.inputs.tolist() == [[3, 1, 4], [7, 5, 8]]
    assert read_inputs([path], ROWS, label="b").collect().inputs.tolist() == [[1, 3, 4], [5, 7, 8]]


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("a,b,c,label", {}, "has 4 number.* a row, the model takes 3; .*a, b, c, label.*--columns"),
        ("a,b,c,label", {"columns": ["a", "z"]}, "has no column z; it has a, b, c, label"),
        ("a,b,b,label", {"label": "label"}, "more than one column b"),
        ("1.5,2,3,0", {}, "first line is numbers"),
        ("", {}, "is empty"),
    ],
)
def test_other_columns_are_refused(lines: Lines, header: str, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"rows.csv: .*{message}"):
        read_inputs([lines("1,2,3,4", header=header)], ROWS, **options).collect()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((2, 4, 6), 256), "pixels go from"),
        (np.full((2, 4, 6), 1.5), "pixels go from 1.5 to 1.5"),
        (np.full((2, 4, 6), np.nan), "holds nan"),
        (np.zeros((2, 5, 6)), r"shape \[5, 6\], the model takes \[1, 4, 6\]"),
        (np.array([{}, {}]), "holds object"),
        (np.asfortranarray(np.zeros((2, 4, 6))), "Fortran"),
        (np.zeros((0, 4, 6)), "at least one row"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, value: NDArray[Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", x=value)
    with pytest.raises(DataError, match=message):
        read_inputs([tmp_path / "x.npz"], IMAGES).collect()


@pytest.mark.parametrize("name", ["x.npz", "x.parquet"])
def test_a_file_that_is_cut_off_is_told_of(name: str, tmp_path: Path) -> None:
    write = write_npz if name == "x.npz" else write_columns
    whole = write(tmp_path).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match=rf"{name}: is not a readable"):
        read_inputs([tmp_path / name], IMAGES).collect()


def test_an_archive_without_inputs_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS)
    with pytest.raises(DataError, match="has no array x; it has images"):
        read_inputs([tmp_path / "x.npz"], IMAGES).collect()


def test_pictures_in_parquet_are_read(tmp_path: Path) -> None:
    encoded = [path.read_bytes() for path in sorted(write_pictures(tmp_path).iterdir())]
    pq.write_table(pa.table({"image": encoded, "label": [0] * 7}), tmp_path / "p.parquet")
    found = read_inputs([tmp_path / "p.parquet"], IMAGES, image="image", label="label").collect()
    assert torch.equal(found.inputs, torch.from_numpy(PIXELS[:, None]).float().div_(255))
    with pytest.raises(DataError, match=r"are 4 x 6 pixels, the model takes 5 x 5"):
        read_inputs([tmp_path / "p.parquet"], DataInfo("n", (1, 5, 5), ("a", "b")), image="image").collect()


def test_a_picture_is_no_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a picture; the model takes rows of 3 numbers"):
        read_inputs([picture(tmp_path / "a.png", PIXELS[0])], ROWS).collect()
    with pytest.raises(DataError, match="takes 2 channels"):
        read_inputs([tmp_path / "a.png"], DataInfo("n", (2, 4, 6), ("a", "b"))).collect()


def test_what_is_not_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("")
    with pytest.raises(DataError, match=r"nowhere: there is no such file(.|\n)*a.doc: can't be told.*\.csv"):
        read_inputs([tmp_path / "nowhere", tmp_path / "a.doc"], ROWS)
    with pytest.raises(DataError, match="no inputs are given"):
        read_inputs([], ROWS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="nothing to read"):
        read_inputs([tmp_path / "empty"], ROWS).collect()


def test_few_are_collected_without_reading_the_rest(tmp_path: Path) -> None:
    good, bad = write_npz(tmp_path), tmp_path / "z.png"
    bad.write_text("no picture")
    assert len(read_inputs([good, bad], IMAGES).collect(5).names) == 5
