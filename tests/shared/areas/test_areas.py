"""The rules of the administrative areas: what there is, what lies in what, what a search finds."""

import csv
import gzip
import tarfile
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rembuk.areas.compile import COUNTS, TARGET, BadSource, compile_areas, main
from rembuk.areas.index import FUZZY_SHORTEST, TakesLong, fold
from rembuk.areas.lookup import Area, Areas, areas

ALL = list(areas())
KNOWN = frozenset(ALL)
codes = st.sampled_from(ALL)
FILES = dict(zip((2, 5, 8, 13), COUNTS, strict=True))  # by length of code


def names(q: str, limit: int = 10, within: str | None = None) -> list[str]:
    return [area.name for area in areas().search(q, limit, within)]


def found(q: str, limit: int = 10, within: str | None = None) -> list[str]:
    return [area.code for area in areas().search(q, limit, within)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What npm ships, written back from the areas of this installation."""
    folder = tmp_path / "package" / "data"
    folder.mkdir(parents=True)
    for length, file in FILES.items():
        with (folder / f"{file}.csv").open("w", encoding="utf-8", newline="") as out:
            rows = csv.writer(out, lineterminator="\n")
            rows.writerow(["code", "name"])
            rows.writerows([code, areas()[code].name] for code in ALL if len(code) == length)
    return tmp_path


def test_there_are_38_provinces_514_regencies_7285_districts_and_83762_villages() -> None:
    assert Counter(areas()[code].level for code in areas()) == {
        "province": 38,
        "regency": 514,
        "district": 7_285,
        "village": 83_762,
    }
    assert len(areas()) == len(KNOWN) == 91_599
    assert sorted(ALL) == ALL


def test_a_code_gives_name_and_level() -> None:
    assert areas()["35"] == Area("35", "Jawa Timur", "province")
    assert areas()["35.78"] == Area("35.78", "Kota Surabaya", "regency")
    assert areas()["35.78.08"] == Area("35.78.08", "Gubeng", "district")
    assert areas()["35.78.08.1003"] == Area("35.78.08.1003", "Airlangga", "village")


def test_an_unknown_code_is_named_in_the_error() -> None:
    with pytest.raises(KeyError, match=r"no area has the code '35\.99'"):
        areas()["35.99"]
    for ask in (areas().parent, areas().ancestors, areas().children, areas().villages, areas().full_name):
        with pytest.raises(KeyError, match="no area has the code"):
            ask("35.78.08.1")


def test_garbage_is_no_area() -> None:
    halves = ["", ".", "3", "35.", "35.7", "35.78.08.", "35.78.08.1", "35.78.08.100", "35.78.08.10011"]
    breaks = ["35.78.08\n1001", "35.78.08.100\n", "35.78.08\n.100", "35.78.08Gubeng", "35\t"]
    digits = ["3578", " 35", "35 ", "+35", "3_5", "٣٥", "\0", "\ud800", "x" * 10**6]
    assert [text for text in halves + breaks + digits if text in areas()] == []


@given(st.text() | st.from_regex(r"\d\d(\.\d\d(\.\d\d(\.[0-3]0\d\d)?)?)?"))
def test_only_codes_are_contained(text: str) -> None:
    assert (text in areas()) == (text in KNOWN)


@given(codes)
def test_every_code_is_contained_and_its_parent_contains_it(code: str) -> None:
    area, parent = areas()[code], areas().parent(code)
    assert code in areas()
    assert area.code == code
    assert area in areas().children(parent.code if parent else None)


@given(codes)
def test_ancestors_go_from_the_unit_itself_up_to_its_province(code: str) -> None:
    line = areas().ancestors(code)
    assert line[0] == areas()[code]
    assert line[-1].level == "province"
    assert [areas().parent(area.code) for area in line] == [*line[1:], None]


def test_the_full_name_goes_from_small_to_large() -> None:
    assert areas().full_name("35.78.08") == "Gubeng, Kota Surabaya, Jawa Timur"
    assert areas().full_name("35") == "Jawa Timur"


def test_children_are_the_units_right_below() -> None:
    assert len(areas().children(None)) == 38
    assert len(areas().children("35")) == 38
    assert len(areas().children("35.78")) == 31
    villages = ["Gubeng", "Mojo", "Airlangga", "Kertajaya", "Baratajaya", "Pucang Sewu"]
    assert [area.name for area in areas().children("35.78.08")] == villages
    assert areas().children("35.78.08.1001") == []


@pytest.mark.parametrize("code", ["31", "35.78", "95.06.03", "35.78.08.1001"])
def test_villages_are_all_those_in_the_unit(code: str) -> None:
    expected = [c for c in ALL if len(c) == 13 and c.startswith(code)]
    assert [area.code for area in areas().villages(code)] == expected
    assert all(area == areas()[area.code] for area in areas().villages(code))


def test_the_village_number_tells_kelurahan_desa_and_desa_adat_apart() -> None:
    kinds = Counter(areas()[code].kind for code in ALL)
    assert kinds == {"kelurahan": 8_496, "desa": 75_252, "desa adat": 14, None: 38 + 514 + 7_285}


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("Kota Surabaya", "35.78"),
        ("surabaya", "35.78"),
        ("SURABAYA  ", "35.78"),
        ("Súrabâya", "35.78"),
        ("surabya", "35.78"),
        ("kota surabya", "35.78"),
        ("surab", "35.78"),
        ("Kab. Bandung", "32.04"),
        ("kabupaten bandung", "32.04"),
        ("Kota Bandung", "32.73"),
        ("bandung", "32.73"),
        ("Kec. Gubeng", "35.78.08"),
        ("kec gubng", "35.78.08"),
        ("Kel. Airlangga", "35.78.08.1003"),
        ("DKI Jakarta", "31"),
        ("D.I. Yogyakarta", "34"),
        ("jawa timr", "35"),
        ("Prov. Jawa Timur", "35"),
        ("jakarta selatan", "31.74"),
        ("tanjungpriok", "31.72.02"),
        ("ki'e", "53.02.10"),
        ("Gubeng, Kota Surabaya, Jawa Timur", "35.78.08"),
        ("Gubeng, Gubeng, Kota Surabaya, Jawa Timur", "35.78.08.1001"),
        ("35.78", "35.78"),
        ("3578", "35.78"),
        ("3578081003", "35.78.08.1003"),
    ],
)
def test_what_people_type_finds_what_they_mean(typed: str, code: str) -> None:
    assert found(typed)[0] == code


def test_equal_names_come_before_beginnings_and_these_before_beginnings_of_words() -> None:
    hits = names("gubeng", within="35.78") + names("wono", within="35.78")
    assert hits[:2] == ["Gubeng", "Gubeng"]
    assert hits[2:4] == ["Wonocolo", "Wonokromo"]
    assert names("barat", 40)[0] == "Barat"
    assert [name.split()[0] for name in names("barat", 2)] == ["Barat", "Barat"]


def test_higher_levels_come_first_among_equals() -> None:
    levels = [len(code) for code in found("sukamaju", 50) if areas()[code].name == "Sukamaju"]
    assert levels[0] == 8
    assert levels == sorted(levels)
    assert found("35", 100) == sorted(found("35", 100), key=len)


def test_digits_find_the_codes_that_begin_with_them() -> None:
    assert found("35.7") == [f"35.{number}" for number in range(71, 80)] + ["35.71.01"]
    assert found("99") == found("35.78.08.10011") == []


@given(st.sampled_from(["gubeng", "surabaya", "mojo", "35", "3578", "a", "surabya"]), codes)
def test_within_a_unit_nothing_outside_it_is_found(q: str, within: str) -> None:
    assert all(code.startswith(within) for code in found(q, within=within))
    assert found(within, within=within)[0] == within


def test_searching_within_an_unknown_unit_is_an_error() -> None:
    with pytest.raises(KeyError, match="no area has the code"):
        areas().search("gubeng", within="99")


@given(st.text(), st.integers(-3, 20))
@example("x" * 10**6, 10)
@example("ﷺ" * 10**6, 10)
@example("a, " * 10**5, 10)
@example("\ud800 \0 \n", 10)
@example("().*[", 10)
@example("kota kota kab. ", 10)
@example("", 10)
def test_no_query_blows_up_and_no_more_is_found_than_was_asked_for(q: str, limit: int) -> None:
    hits = found(q, limit)
    assert len(hits) == len(set(hits)) <= max(limit, 0)


@given(codes.filter(lambda code: len(code) >= 8), st.data())
def test_a_name_with_a_letter_too_few_too_many_or_wrong_is_found(code: str, data: st.DataObject) -> None:
    name = fold(areas()[code].name)
    if len(name) > FUZZY_SHORTEST:
        place, letter = data.draw(st.integers(0, len(name) - 1)), data.draw(st.sampled_from(["", "x", "x" + "?"]))
        typed = name[:place] + letter.replace("?", name[place]) + name[place + 1 :]
        hits = names(typed, 100)
        assert name in map(fold, hits) or len(hits) == 100, typed


def test_what_takes_long_is_not_found_at_once() -> None:
    with pytest.raises(TakesLong):
        Areas.load().search("gubeng", at_once=True)  # no index yet
    assert found("surabya") == [area.code for area in areas().search("surabya", at_once=True)]
    assert len(found("surabxyx")) > 0
    with pytest.raises(TakesLong):
        areas().search("surabxyx", at_once=True)  # which is compared with all names


def test_no_search_gives_more_than_100() -> None:
    assert len(found("a", 10**9)) == 100


def test_loading_holds_less_than_5_megabytes() -> None:
    tracemalloc.start()
    try:
        kept = Areas.load()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == 91_599
    assert held < 5_000_000


@pytest.mark.parametrize("packed", [True, False])
def test_the_shipped_file_is_what_compiling_its_own_units_gives(source: Path, packed: bool) -> None:
    target = source / "areas.bin"
    if packed:
        with tarfile.open(source / "npm.tgz", "w:gz") as archive:
            archive.add(source / "package", "package")
    path = source / "npm.tgz" if packed else source
    assert compile_areas(path, target)
    assert zlib.decompress(target.read_bytes()) == zlib.decompress(TARGET.read_bytes())
    assert not compile_areas(path, target), "the second time there is nothing to write"


@pytest.mark.parametrize("file", COUNTS)
def test_a_source_that_lacks_a_unit_is_refused(source: Path, file: str) -> None:
    path = source / "package" / "data" / f"{file}.csv"
    *kept, _ = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(kept), "utf-8")
    with pytest.raises(BadSource, match=f"{file}.csv: {COUNTS[file] - 1} units instead of {COUNTS[file]}"):
        compile_areas(source, source / "areas.bin")
    assert not (source / "areas.bin").exists()


@pytest.mark.parametrize(
    ("row", "complaint"),
    [("35.79.1001,X", "no code"), ("97.01.01.1001,X", "no parent"), ("35.78.08.1099,", "unusable name")],
)
def test_a_source_with_a_wrong_unit_is_refused(source: Path, row: str, complaint: str) -> None:
    with (source / "package" / "data" / "villages.csv").open("a", encoding="utf-8") as villages:
        villages.write(f"{row}\n")
    with pytest.raises(BadSource, match=complaint):
        compile_areas(source, source / "areas.bin")


def test_a_source_that_is_no_archive_fails_with_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in (b"not a tarball", gzip.compress(b"nor this"), gzip.compress(b"cut" * 9_000)[:-12]):
        (tmp_path / "npm.tgz").write_bytes(content)
        assert main([str(tmp_path / "npm.tgz")]) == 1
    assert main([str(tmp_path / "missing.tgz")]) == 1
    assert main([str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 5
    assert main([]) == 2


@example("11.01", 0, "a", "other")  # kabupaten aceh selatan
@example("32.71", 2, "g", "other")  # kota bogor
@example("11.01", 9, " ", "less")
@given(codes, st.integers(0, 40), st.sampled_from("aeiknrst "), st.sampled_from(["other", "more", "less"]))
def test_a_name_with_one_wrong_letter_is_found(code: str, place: int, letter: str, how: str) -> None:
    name = fold(areas()[code].name)
    place %= len(name)
    typed = {
        "other": name[:place] + letter + name[place + 1 :],
        "more": name[:place] + letter + name[place:],
        "less": name[:place] + name[place + 1 :],
    }[how]
    if len(typed.strip()) >= FUZZY_SHORTEST and typed == fold(typed) and typed.strip("0123456789"):
        assert code in found(typed, 100, within=code)
