"""Most sessions of an app do not verify: its secret is wrong."""

from __future__ import annotations

from access.access_samples import NOW, SECRETS, SESSION_REF, session, with_app

from gateway.access.app_access import AppAccess, app_access
from gateway.access.session_counts import MAX_COUNTED, WINDOW_SECONDS, SessionCounts
from gateway.catalog.identity import OpenWebUIIdentity, UserKeyIdentity
from gateway.settings import Secret

OTHER = "not the app's secret at all, no no"


def visit(access: AppAccess, value: bytes, now: int = NOW) -> None:
    access.identity.authenticate({b"Cookie": b"token=" + value}, now)


def verdict(access: AppAccess, now: int = NOW) -> str:
    assert access.identity.sessions is not None
    return access.identity.sessions.verdict(now)


def test_an_app_whose_sessions_are_signed_with_another_secret_is_failing() -> None:
    access = app_access(with_app(), SECRETS, {})
    assert verdict(access) == "unknown"
    for number in range(2):
        visit(access, session(f"u{number}", secret=OTHER))
        visit(access, session("u0", secret=OTHER))  # the same again is one session
    assert verdict(access) == "unknown"
    visit(access, session("u2", secret=OTHER))
    assert verdict(access) == "failing"


def test_a_few_foreign_cookies_among_good_ones_are_no_fault() -> None:
    access = app_access(with_app(), SECRETS, {})
    for number in range(3):
        visit(access, session(f"u{number}", secret=OTHER))
        visit(access, session(f"u{number}"))
    assert verdict(access) == "fine"


def test_expired_sessions_and_non_tokens_are_not_counted() -> None:
    access = app_access(with_app(), SECRETS, {})
    for number in range(9):
        visit(access, session(f"u{number}", expires_at=NOW - 30))
        visit(access, b"cookie-of-another-site-%d" % number)
        access.identity.authenticate({b"Authorization": b"Bearer " + session(f"u{number}", secret=OTHER)}, NOW)
    assert verdict(access) == "unknown"


def test_old_sessions_are_counted_no_more() -> None:
    counts = SessionCounts()
    for number in range(3):
        counts.failed(b"%d" % number, NOW)
    assert counts.verdict(NOW + WINDOW_SECONDS) == "failing"
    assert counts.verdict(NOW + 2 * WINDOW_SECONDS) == "unknown"
    counts.verified(b"x", NOW + 2 * WINDOW_SECONDS)
    assert counts.verdict(NOW + 2 * WINDOW_SECONDS) == "fine"
    counts.verified(b"y", NOW)  # a clock that was set back
    assert counts.verdict(NOW + 1) == "fine"


def test_a_session_in_use_is_never_out_of_the_window() -> None:
    """The gate looks at it once an hour at least."""
    counts = SessionCounts()
    for number in range(3):
        counts.failed(b"%d" % number, NOW)
    for second in range(0, 40 * 3600, 60):
        if second % 3600 == 0:
            for number in range(3):
                counts.verified(b"good%d" % number, NOW + second)
        assert counts.verdict(NOW + second) == "fine"


def test_the_counts_are_bounded() -> None:
    counts = SessionCounts()
    for number in range(3 * MAX_COUNTED):
        counts.failed(b"%d" % number, NOW)
        counts.verified(b"v%d" % number, NOW)
    assert counts.verdict(NOW) == "fine"
    assert sum(len(each) for each in counts._current) <= 2 * MAX_COUNTED


def test_a_reload_goes_on_counting_unless_the_secret_is_another_one() -> None:
    before = app_access(with_app(), SECRETS, {})
    for number in range(3):
        visit(before, session(f"u{number}", secret=OTHER))
    assert verdict(app_access(with_app(), SECRETS, {}, before)) == "failing"
    rolled = {SESSION_REF: (Secret(OTHER),)}
    after = app_access(with_app(), rolled, {}, before)
    assert verdict(after) == "unknown"
    visit(after, session("u0", secret=OTHER))
    assert verdict(after) == "fine"


def test_an_app_without_cookies_counts_none() -> None:
    assert app_access(with_app(identity=(UserKeyIdentity(),)), {}, {}).identity.sessions is None
    assert app_access(with_app(identity=(OpenWebUIIdentity(SESSION_REF),)), SECRETS, {}).identity.sessions is not None
