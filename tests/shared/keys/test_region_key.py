"""The rules of the region's key: where it is had from, what is refused, and that it stays unseen."""

import base64
import os
import secrets
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from rembuk.keys.key_setting import BadKey, create
from rembuk.keys.region_key import RegionKey, RegionKeys, WrongRegionKey

KEY, OTHER = secrets.token_bytes(32), secrets.token_bytes(32)
TEXT, OTHER_TEXT = base64.b64encode(KEY).decode(), base64.b64encode(OTHER).decode()
ID, OTHER_ID = sha256(KEY).hexdigest()[:8], sha256(OTHER).hexdigest()[:8]
PYTHON = f"{sys.executable} -c"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "region.key"
    path.write_text(f"{TEXT}\n")
    path.chmod(0o600)
    return path


def test_it_shows_its_id_only() -> None:
    assert repr(RegionKey(KEY)) == str(RegionKey(KEY)) == f"RegionKey(key_id='{ID}')"
    assert repr(RegionKeys.load(f"{TEXT} {OTHER_TEXT}")) == f"RegionKeys({ID}, {OTHER_ID})"


def test_a_setting_is_the_key_itself_a_file_or_a_command(path: Path) -> None:
    for setting in (f"{TEXT}\n", str(path), f"command:{sys.executable} -c 'print(open(\"{path}\").read())'"):
        assert RegionKeys.load(setting).current.key_id == ID


def test_the_first_of_several_is_the_current_one() -> None:
    keys = RegionKeys.load(f"{TEXT} {OTHER_TEXT}")
    assert keys.current.key_id == ID
    assert keys[OTHER_ID].key_id == OTHER_ID
    with pytest.raises(WrongRegionKey, match=f"0badc0de.*{ID}, {OTHER_ID}"):
        keys["0badc0de"]


def test_a_file_that_was_replaced_is_read_again_and_a_spoilt_one_changes_nothing(path: Path) -> None:
    keys = RegionKeys.load(str(path))

    def replace(text: str) -> None:
        new = path.with_name("new")
        new.write_text(text)
        new.chmod(0o600)
        os.utime(new, ns=(0, path.stat().st_mtime_ns + 1))
        new.replace(path)

    replace(f"{OTHER_TEXT}\n{TEXT}\n")
    assert keys.current.key_id == OTHER_ID
    assert keys[ID].key_id == ID
    for spoilt in ("half written", "", "\n"):
        replace(spoilt)
        assert (keys.current.key_id, keys[ID].key_id) == (OTHER_ID, ID)
    path.unlink()
    assert keys.current.key_id == OTHER_ID


def test_a_key_that_is_gone_from_the_file_still_reads_and_is_current_no_more(path: Path) -> None:
    """It may be the last copy."""
    keys = RegionKeys.load(str(path))
    path.write_text(f"{OTHER_TEXT}\n")
    os.utime(path, ns=(0, 1))
    assert keys.current.key_id == OTHER_ID
    assert keys[ID].key_id == ID
    assert RegionKeys.load(str(path)).ids == [OTHER_ID]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKey, match=r"region\.key cannot be had: No such file"):
        RegionKeys.load(str(tmp_path / "region.key"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(BadKey, match="chmod 600"):
        RegionKeys.load(str(path))


@pytest.mark.parametrize(
    "content", [b"", b"short", KEY, base64.b64encode(KEY[1:]), b"\xff" * 44, TEXT.encode() + b" rest"], ids=range(6)
)
def test_a_file_that_holds_anything_else_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BadKey, match="is not 32 bytes in base64"):
        RegionKeys.load(str(path))
    assert path.read_bytes() == content


@pytest.mark.parametrize("command", ["", "/nowhere", "'", f"{PYTHON} 'print(1)'", f"{PYTHON} 'raise SystemExit(3)'"])
def test_a_command_that_does_not_give_it_is_refused(command: str) -> None:
    with pytest.raises(BadKey, match="the command for the region key"):
        RegionKeys.load(f"command:{command}")


@pytest.mark.parametrize("mistyped", [TEXT[1:], TEXT + "x", ""], ids=range(3))
def test_what_may_be_a_mistyped_key_is_never_told(mistyped: str) -> None:
    with pytest.raises(BadKey) as refused:
        RegionKeys.load(mistyped)
    assert not mistyped or mistyped not in str(refused.value)
    assert TEXT[5:20] not in str(refused.value)


def test_a_key_that_begins_with_a_slash_is_a_key_and_mistyped_is_not_told_as_a_path() -> None:
    """As one key in 64 does."""
    key = b"\xff" + KEY[1:]
    text = base64.b64encode(key).decode()
    assert text.startswith("/")
    for setting in (text, f"{text} {OTHER_TEXT}"):
        assert RegionKeys.load(setting).current.key_id == RegionKey(key).key_id
    for mistyped in (text[:-1], text[:-3] + "=", text + " " + OTHER_TEXT[1:]):
        with pytest.raises(BadKey) as refused:
            RegionKeys.load(mistyped)
        assert not any(
            told in repr((refused.value, refused.value.__context__)) for told in (text[1:20], OTHER_TEXT[5:20])
        )


def test_a_new_one_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "region.key"
    create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    made = RegionKeys.load(str(path)).current.key_id
    create(path)
    assert RegionKeys.load(str(path)).current.key_id == made
    assert os.listdir(tmp_path) == ["region.key"]


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(BadKey, match="32 bytes, not 16"):
        RegionKey(secrets.token_bytes(16))
