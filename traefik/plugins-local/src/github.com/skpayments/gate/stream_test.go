package gate

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

const first = `{"process":"p1","epoch":"e1","n":10,"rules":{"blog":{"routes":[{"path":"/paid/","folded":"/paid/","methods":[]}]}},"version":"v1"}`

// A middleware without a gate: the test supplies its stream.
func staged(t *testing.T) *Middleware {
	t.Helper()
	s := emptyShared(1000)
	m := &Middleware{shared: s, staleFor: time.Minute}
	m.app = appOf(s, "blog")
	say(t, s, false, first)
	return m
}

func say(t *testing.T, s *shared, begun bool, text string) {
	t.Helper()
	if !hear(s, []byte(text), begun) {
		t.Fatalf("not understood: %s", text)
	}
}

func keptHeader(epoch string, number int, version string, fresh, never time.Duration) http.Header {
	until := func(d time.Duration) int64 {
		if d == 0 {
			return 0
		}
		return time.Now().Add(d).Unix()
	}
	value := fmt.Sprintf("%s %d p1 0 %s %d %d", epoch, number, version, until(fresh), until(never))
	return http.Header{"X-Sk-Keep": {value}, "X-Sk-User": {"alice"}, "X-Sk-Tier": {"pro"}, "Date": {"now"}}
}

func lookAt(m *Middleware, who string) look {
	r, _ := http.NewRequest("GET", "http://blog.test/a", nil)
	r.RequestURI = "/a"
	return lookUp(m, r, who)
}

func isFresh(m *Middleware, who string) bool {
	return lookAt(m, who).fresh
}

func stands(m *Middleware, who string) bool {
	seen := lookAt(m, who)
	return usable(m, seen.kept, now())
}

func TestWhichAnswersAreCached(t *testing.T) {
	minute := time.Minute
	for _, row := range []struct {
		name          string
		header        http.Header
		fresh, stands bool
	}{
		{"the same number", keptHeader("e1", 10, "v1", minute, 0), true, true},
		{"a higher number than the stream has announced", keptHeader("e1", 12, "v1", minute, 0), false, true},
		{"overtaken by a change", keptHeader("e1", 9, "v1", minute, 0), false, false},
		{"another start of the gate, with a high number", keptHeader("e0", 500, "v1", minute, 0), false, true},
		{"other rules", keptHeader("e1", 10, "v2", minute, 0), false, false},
		{"not to be kept", http.Header{"X-Sk-User": {"alice"}}, false, false},
		{"fresh no more", keptHeader("e1", 10, "v1", -time.Second, 0), false, true},
		{"over, says its last instant", keptHeader("e1", 10, "v1", minute, -time.Second), false, false},
		{"for ever, almost", http.Header{"X-Sk-User": {"alice"}, "X-Sk-Keep": {"e1 10 p1 0 v1 99999999999 99999999999"}}, true, true},
		{"over since the epoch", http.Header{"X-Sk-User": {"alice"}, "X-Sk-Keep": {"e1 10 p1 0 v1 99999999999 1"}}, false, false},
		{"nonsense", http.Header{"X-Sk-Keep": {"e1 x p1 y v1 z z"}}, false, false},
		{"half a header", http.Header{"X-Sk-Keep": {"e1 10 v1"}}, false, false},
	} {
		m := staged(t)
		keep(m, lookAt(m, "alice"), row.header)
		if isFresh(m, "alice") != row.fresh || stands(m, "alice") != row.stands {
			t.Errorf("%s: fresh %v, stands in %v", row.name, isFresh(m, "alice"), stands(m, "alice"))
		}
		if isFresh(m, "bob") || stands(m, "bob") {
			t.Errorf("%s: for everybody", row.name)
		}
	}
}

func TestNoAnswerIsFreshForMoreThanAMinute(t *testing.T) {
	m := staged(t)
	made := keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Hour, 0))
	if made.freshUntil > now()+time.Minute {
		t.Error(made.freshUntil - now())
	}
	made = keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Hour, 5*time.Second))
	if made.freshUntil > now()+5*time.Second {
		t.Error(made.freshUntil - now())
	}
}

func TestOnlyOurHeadersOfAnAnswerAreTags(t *testing.T) {
	m := staged(t)
	made := keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
	for _, name := range made.names {
		if name != "X-Sk-User" && name != "X-Sk-Tier" {
			t.Error(name)
		}
	}
	if len(made.names) != 2 {
		t.Error(made.names)
	}
}

func TestAnAnswerRequestedBeforeAChangeIsNotCachedAfterIt(t *testing.T) {
	m := staged(t)
	seen := lookAt(m, "alice")
	say(t, m.shared, true, `{"n":11,"app":"blog","user":"alice"}`)
	keep(m, seen, keptHeader("e1", 10, "v1", time.Minute, 0))
	if isFresh(m, "alice") || stands(m, "alice") {
		t.Error("kept")
	}
}

func TestAnAnswerRequestedBeforeARestartIsNotFreshAfterIt(t *testing.T) {
	m := staged(t)
	seen := lookAt(m, "alice")
	say(t, m.shared, false, `{"process":"p1","epoch":"e2","n":3,"version":"v1"}`)
	keep(m, seen, keptHeader("e1", 10, "v1", time.Minute, 0))
	if isFresh(m, "alice") {
		t.Error("fresh")
	}
	keep(m, lookAt(m, "alice"), keptHeader("e2", 3, "v1", time.Minute, 0))
	if !isFresh(m, "alice") {
		t.Error("the new gate's answer is not kept")
	}
}

func TestEffectOfEachLineOnCachedAnswers(t *testing.T) {
	for _, row := range []struct {
		name, line    string
		begun         bool
		fresh, stands bool
	}{
		{"a heartbeat", `{"n":10}`, true, true, true},
		{"somebody else's change", `{"n":11,"app":"blog","user":"bob"}`, true, true, true},
		{"her change", `{"n":11,"app":"blog","user":"alice"}`, true, false, false},
		{"her change in another app", `{"n":11,"app":"shop","user":"alice"}`, true, true, true},
		{"forget all", `{"n":11,"all":true,"rules":{"blog":{"routes":[]}},"version":"v1"}`, true, false, false},
		{"a heartbeat that knows of more", `{"n":11}`, true, false, true},
		{"a change after one that never came", `{"n":12,"app":"blog","user":"bob"}`, true, false, true},
		{"a new stream, nothing missed", first, false, true, true},
		{"a new stream, something missed", `{"process":"p1","epoch":"e1","n":11,"version":"v1"}`, false, false, true},
		{"a new stream of a new gate", `{"process":"p1","epoch":"e2","n":10,"version":"v1"}`, false, false, true},
		{"a new gate with other rules", `{"process":"p1","epoch":"e2","n":10,"rules":{"blog":{"routes":[]}},"version":"v2"}`, false, false, false},
	} {
		m := staged(t)
		keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
		if !isFresh(m, "alice") {
			t.Fatal("not kept")
		}
		say(t, m.shared, row.begun, row.line)
		if isFresh(m, "alice") != row.fresh || stands(m, "alice") != row.stands {
			t.Errorf("%s: fresh %v, stands in %v", row.name, isFresh(m, "alice"), stands(m, "alice"))
		}
	}
}

func TestAnInvalidLineEndsAStream(t *testing.T) {
	for _, row := range []struct {
		text  string
		begun bool
	}{
		{"", true}, {"{", true}, {"[]", true}, {`{"n":"11"}`, true}, {`{"n":11}`, false}, {first, true},
	} {
		m := staged(t)
		if hear(m.shared, []byte(row.text), row.begun) {
			t.Error(row.text)
		}
	}
}

func TestALostStreamLeavesNothingFresh(t *testing.T) {
	m := staged(t)
	keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
	lost(m.shared)
	if isFresh(m, "alice") || !stands(m, "alice") {
		t.Error("fresh without a stream, or of no use at all")
	}
	keep(m, lookAt(m, "bob"), keptHeader("e1", 10, "v1", time.Minute, 0))
	if isFresh(m, "bob") || !stands(m, "bob") {
		t.Error("an answer given without a stream")
	}
	say(t, m.shared, false, first)
	if !isFresh(m, "alice") || isFresh(m, "bob") {
		t.Error("after the stream came back")
	}
}

func TestAStreamWithoutAHeartbeatIsLostAfterThreeSeconds(t *testing.T) {
	m := staged(t)
	keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
	if left := m.shared.liveUntil - now(); left > 3*time.Second || left < 2*time.Second {
		t.Error(left)
	}
	m.shared.liveUntil = now()
	if isFresh(m, "alice") {
		t.Error("fresh")
	}
}

func TestACachedAnswerReplacesAGateThatIsDownForALimitedTime(t *testing.T) {
	m := staged(t)
	keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
	m.shared.aliveAt = now() - 59*time.Second
	if !stands(m, "alice") {
		t.Error("not after 59 s")
	}
	m.shared.aliveAt = now() - 60*time.Second
	if stands(m, "alice") {
		t.Error("after 60 s")
	}
}

func TestOneFailedCallDoesNotMarkTheGateDownWhileItsStreamLives(t *testing.T) {
	s := staged(t).shared
	asked(s, true)
	if s.down {
		t.Error("heard of a moment ago")
	}
	s.heardAt = now() - 2*time.Second
	asked(s, true)
	if !s.down {
		t.Error("silent for two seconds")
	}
	say(t, s, true, `{"n":10}`)
	if s.down {
		t.Error("it has said something")
	}
	lost(s)
	asked(s, true)
	if !s.down {
		t.Error("its stream is gone")
	}
}

func TestARefusalRemovesTheCachedAnswer(t *testing.T) {
	m := staged(t)
	keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
	say(t, m.shared, false, `{"process":"p1","epoch":"e2","n":1,"version":"v1"}`)
	forgetAnswer(m.shared, lookAt(m, "alice"))
	if stands(m, "alice") {
		t.Error("of the generation before")
	}
}

func TestAnEarlierAnswerNeverReplacesALaterOne(t *testing.T) {
	m := staged(t)
	lost(m.shared)
	early := lookAt(m, "alice")
	late := keep(m, lookAt(m, "alice"), keptHeader("e2", 5, "v1", time.Minute, 0))
	keep(m, early, keptHeader("e1", 10, "v1", time.Minute, 0))
	if lookAt(m, "alice").kept != late {
		t.Error("replaced by an answer of the gate before")
	}
	newer := keep(m, early, keptHeader("e2", 6, "v1", time.Minute, 0))
	if lookAt(m, "alice").kept != newer {
		t.Error("not replaced by a higher number")
	}
}

func TestNothingIsCachedWithoutRules(t *testing.T) {
	for _, m := range []*Middleware{
		{shared: emptyShared(100)},
		{shared: staged(t).shared},
	} {
		m.app = appOf(m.shared, "shop")
		keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
		if isFresh(m, "alice") || stands(m, "alice") {
			t.Error("kept")
		}
	}
}

func TestAnAnswerIsNotCachedIfTheRulesChangedDuringTheCall(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		m := staged(t)
		seen := lookAt(m, "alice")
		say(t, m.shared, true, `{"n":11,"all":true,"rules":{"blog":{"routes":[]}},"version":"v2"}`)
		keep(m, seen, keptHeader("e1", 11, version, time.Minute, 0))
		if isFresh(m, "alice") || stands(m, "alice") || len(m.shared.young.answers) != 0 {
			t.Error("kept", version)
		}
	}
}
