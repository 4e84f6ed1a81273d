"""Zones: exact names, data of the pinned package, changes of the offset."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import islice, pairwise
from pathlib import Path

import pytest

from domain.errors import DomainError, ErrorKind
from domain.zones import (
    DAY,
    EPOCH,
    FIRST_INSTANT,
    LAST_INSTANT,
    OffsetChange,
    instant_to_utc,
    load_zone,
    optional_zone,
    require_zone,
    utc_to_instant,
    zone_names,
    zone_offsets,
)


def instant(text: str) -> int:
    return utc_to_instant(datetime.fromisoformat(text))


def changes(name: str, first: str, last: str) -> list[OffsetChange]:
    found: list[OffsetChange] = []
    for change in zone_offsets(name).changes_after(instant(first)):
        if change.at > instant(last):
            break
        found.append(change)
    return found


class TestNames:
    @pytest.mark.parametrize("name", ["UTC", "Etc/UTC", "Europe/Berlin", "US/Pacific", "EST5EDT"])
    def test_of_the_index_are_accepted(self, name: str) -> None:
        assert require_zone(f" {name}\n", "timezone") == name

    @pytest.mark.parametrize(
        "name",
        [
            "Mars/Base",
            "",
            "utc",
            "Local",
            "localtime",
            "posixrules",
            "+01:00",
            "UTC+1",
            "Europe",
            "Europe/",
            "/etc/passwd",
            "../zones",
            "Europe/../UTC",
            "zones",
            "__init__.py",
            "Europe/Berlin\x00",
            5,
            None,
            True,
            ["UTC"],
        ],
    )
    def test_others_are_refused(self, name: object) -> None:
        with pytest.raises(DomainError) as caught:
            require_zone(name, "trigger.timezone")
        assert caught.value.kind == ErrorKind.INVALID_FIELD
        assert caught.value.field == "trigger.timezone"
        assert "IANA" in caught.value.message

    def test_the_right_spelling_is_proposed(self) -> None:
        with pytest.raises(DomainError, match="did you mean 'Europe/Berlin'") as caught:
            require_zone("europe/berlin", "timezone")
        assert caught.value.accepted == ["Europe/Berlin"]

    @pytest.mark.parametrize("value", [None, "", " "])
    def test_may_be_left_out(self, value: object) -> None:
        assert optional_zone(value, "timezone") is None
        assert optional_zone("UTC", "timezone") == "UTC"

    def test_load_only_what_exists(self) -> None:
        assert EPOCH.astimezone(load_zone("Asia/Tokyo")).utcoffset() == timedelta(hours=9)
        with pytest.raises(DomainError, match="IANA"):
            load_zone("Asia/Edo")


class TestData:
    def test_every_zone_of_the_index_can_be_read(self) -> None:
        assert len(zone_names()) > 500
        for name in zone_names():
            assert load_zone(name).key == name

    @pytest.fixture
    def false_host(self, tmp_path: Path) -> Iterator[None]:
        (tmp_path / "Europe").mkdir()
        kolkata = files("tzdata").joinpath("zoneinfo", "Asia", "Kolkata").read_bytes()
        (tmp_path / "Europe" / "Berlin").write_bytes(kolkata)
        before = zoneinfo.TZPATH
        zoneinfo.reset_tzpath([tmp_path])
        zoneinfo.ZoneInfo.clear_cache()
        yield
        zoneinfo.reset_tzpath(before)
        zoneinfo.ZoneInfo.clear_cache()

    @pytest.mark.usefixtures("false_host")
    def test_the_zone_files_of_the_host_do_not_matter(self) -> None:
        zone_offsets.cache_clear()
        winter = instant("2026-01-01T00:00:00Z")
        host = zoneinfo.ZoneInfo("Europe/Berlin")
        assert instant_to_utc(winter).astimezone(host).utcoffset() == timedelta(hours=5, minutes=30)
        assert zone_offsets("Europe/Berlin").at(winter) == 3600

    def test_changes_lie_further_apart_than_the_clock_ever_jumps(self) -> None:
        for name in zone_names():
            listed = zone_offsets(name).listed
            assert all(abs(change.forward) <= DAY for change in listed), name
            assert all(right.at - left.at > 2 * DAY for left, right in pairwise(listed)), name

    def test_rules_change_the_offset_twice_a_year_and_no_probe_misses_it(self) -> None:
        ruled = [name for name in zone_names() if zone_offsets(name).follows_rule]
        assert len(ruled) > 100
        start, end = instant("2090-01-01T00:00:00Z"), instant("2091-01-01T00:00:00Z")
        for name in ruled:
            zone = zone_offsets(name)
            found = list(islice(zone.changes_after(start), 3))
            assert found[1].at < end <= found[2].at, name
            daily = {zone.at(at) for at in range(start, end, DAY)}
            assert daily == {change.after for change in found}, name


class TestChanges:
    def test_of_a_rule_go_on_after_the_listed_ones(self) -> None:
        assert changes("America/New_York", "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z") == [
            OffsetChange(instant("2026-03-08T07:00:00Z"), -18000, -14400),
            OffsetChange(instant("2026-11-01T06:00:00Z"), -14400, -18000),
        ]

    def test_are_strictly_after(self) -> None:
        at = "2026-03-29T01:00:00Z"
        first = next(zone_offsets("Europe/Berlin").changes_after(instant(at)))
        assert first.at == instant("2026-10-25T01:00:00Z")
        second_before = next(zone_offsets("Europe/Berlin").changes_after(instant(at) - 1))
        assert second_before == OffsetChange(instant(at), 3600, 7200)
        assert second_before.forward == 3600

    def test_may_be_half_an_hour(self) -> None:
        shifts = [
            change.forward
            for change in changes(
                "Australia/Lord_Howe", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
            )
        ]
        assert shifts == [-1800, 1800]

    def test_may_skip_a_day(self) -> None:
        (skip,) = changes("Pacific/Apia", "2011-12-01T00:00:00Z", "2012-01-31T00:00:00Z")
        assert skip == OffsetChange(instant("2011-12-30T10:00:00Z"), -36000, 50400)

    @pytest.mark.parametrize("name", ["UTC", "Etc/GMT+5", "Factory"])
    def test_there_are_none_in_a_fixed_zone(self, name: str) -> None:
        assert changes(name, "1000-01-01T00:00:00Z", "9000-01-01T00:00:00Z") == []

    @pytest.mark.parametrize("name", ["America/Sao_Paulo", "Asia/Kolkata", "Asia/Kathmandu"])
    def test_there_are_none_after_the_last_one(self, name: str) -> None:
        assert list(zone_offsets(name).changes_after(instant("2026-01-01T00:00:00Z"))) == []

    def test_far_apart_ones_are_found(self) -> None:
        found = changes("Asia/Kathmandu", "1950-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
        assert found == [OffsetChange(instant("1985-12-31T18:30:00Z"), 19800, 20700)]

    def test_of_a_name_or_of_daylight_alone_do_not_count(self) -> None:
        for name in ("Europe/Lisbon", "Africa/Casablanca", "Europe/Dublin"):
            found = changes(name, "1900-01-01T00:00:00Z", "2100-01-01T00:00:00Z")
            assert all(change.forward for change in found)

    @pytest.mark.parametrize(
        "name",
        [
            "Africa/Casablanca",
            "America/Sao_Paulo",
            "Antarctica/Troll",
            "Asia/Gaza",
            "Australia/Lord_Howe",
            "Europe/Dublin",
            "Pacific/Apia",
        ],
    )
    def test_are_exactly_where_the_offset_differs(self, name: str) -> None:
        zone = zone_offsets(name)
        found = changes(name, "2000-01-01T00:00:00Z", "2045-01-01T00:00:00Z")
        for change in found:
            assert (zone.at(change.at - 1), zone.at(change.at)) == (change.before, change.after)
        days = range(instant("2000-01-01T00:00:00Z"), instant("2045-01-01T00:00:00Z"), DAY)
        differing = sum(zone.at(left) != zone.at(right) for left, right in pairwise(days))
        assert differing == len(found)

    def test_end_with_the_years(self) -> None:
        last = list(zone_offsets("Europe/Berlin").changes_after(instant("9997-06-01T00:00:00Z")))
        assert [instant_to_utc(change.at).year for change in last] == [9997, 9998, 9998]


class TestInstants:
    def test_drop_fractions_of_a_second(self) -> None:
        assert utc_to_instant(datetime(2026, 1, 1, 0, 0, 1, 999_999, UTC)) == 1_767_225_601
        assert utc_to_instant(EPOCH - timedelta(microseconds=1)) == -1

    def test_are_the_same_in_any_zone(self) -> None:
        assert instant("2026-01-01T01:00:00+01:00") == instant("2026-01-01T00:00:00Z")

    def test_offsets_are_known_to_the_ends_of_time(self) -> None:
        zone = zone_offsets("America/New_York")
        assert zone.at(FIRST_INSTANT - 10**9) == zone.at(FIRST_INSTANT) == -17762
        assert zone.at(LAST_INSTANT + 10**9) == -18000
