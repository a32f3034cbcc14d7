"""A state file is whole or absent, and for its owner alone; what is left of a damaged one is never taken for it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rembuk.federation.hub_regions import Invitation
from rembuk.keys.key_setting import BadKey, read_keys
from rembuk.partners.roster import BadRoster, Roster
from rembuk.process.state_file import MOST_BYTES, Damaged, read_json, read_password, write, write_json, write_once
from rembuk_cli.home.key_files import keys_in

KEPT = Invitation("jatim", "nats-leaf://hub:7422", "-----BEGIN CERTIFICATE-----", "SUA")


def test_what_was_written_is_read_by_its_owner_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert read_json(path, Invitation) is None
    for kept in (KEPT, Invitation("jateng", "", "", "")):
        write_json(path, kept)
        assert read_json(path, Invitation) == kept
    write_once(path, b"later")
    assert read_json(path, Invitation) == kept
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write(tmp_path / "taken", b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]


@given(st.data())
def test_no_beginning_of_a_file_is_taken_for_the_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.json"
    write_json(path, KEPT)
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(Damaged, match=r"cut\.json is damaged"):
        read_json(path, Invitation)


@pytest.mark.timeout(10)
def test_what_is_no_file_keeps_nobody_waiting_and_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    for name in ("pipe", "directory", "large"):
        path = tmp_path / name
        match name:
            case "pipe":
                os.mkfifo(path, 0o600)
            case "directory":
                path.mkdir()
            case _:
                with path.open("wb") as file:
                    file.truncate(MOST_BYTES + 1)
        with pytest.raises(Damaged, match=f"{name} is damaged"):
            read_json(path, Invitation)
        with pytest.raises(Damaged, match=f"{name} is damaged"):
            read_password(path, "")
        with pytest.raises(BadKey):
            read_keys(str(path), "a key")
        with pytest.raises(BadRoster):
            Roster(path, Invitation).read()
        assert keys_in([tmp_path]) == {}


@given(st.integers(0, 23))
def test_no_beginning_of_a_password_is_one(tmp_path_factory: pytest.TempPathFactory, left: int) -> None:
    path = tmp_path_factory.getbasetemp() / "password"
    whole = secrets.token_urlsafe(24)
    path.write_text(whole)
    assert read_password(path, "") == whole
    path.write_text(whole[:left])
    with pytest.raises(Damaged, match="move it away"):
        read_password(path, "move it away")


@pytest.mark.parametrize("content", [b"\xff" * 30, b"a" * 24 + b'"', b"a" * 24 + b" b", b"$" * 30])
def test_what_a_servers_configuration_would_have_to_quote_is_no_password(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "password").write_bytes(content)
    with pytest.raises(Damaged):
        read_password(path, "")
    with pytest.raises(Damaged, match="missing"):
        read_password(tmp_path / "none", "")
