package gate

import (
	"fmt"
	"testing"
	"time"
)

func TestAnAnswerBehindTheStreamIsKeptUnlessItsUserChangedSince(t *testing.T) {
	m := staged(t)
	say(t, m.shared, true, `{"n":11,"app":"blog","user":"bob"}`)
	keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
	if !isFresh(m, "alice") {
		t.Error("somebody else changed")
	}
	say(t, m.shared, true, `{"n":12,"app":"blog","user":"alice"}`)
	keep(m, lookAt(m, "alice"), keptHeader("e1", 11, "v1", time.Minute, 0))
	if isFresh(m, "alice") || stands(m, "alice") {
		t.Error("decided before her change")
	}
	keep(m, lookAt(m, "alice"), keptHeader("e1", 12, "v1", time.Minute, 0))
	if !isFresh(m, "alice") {
		t.Error("decided after it")
	}
}

func TestOnlyTheLastChangesAreRememberedAndOlderAnswersAreNotKept(t *testing.T) {
	m := staged(t)
	number := 10
	change := func(user string) {
		number++
		say(t, m.shared, true, fmt.Sprintf(`{"n":%d,"app":"blog","user":"%s"}`, number, user))
	}
	change("alice")
	for i := 0; i < 2*maxRecent+5; i++ {
		if i%(maxRecent/4) == 0 {
			keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
			if isFresh(m, "alice") {
				t.Fatal("after others: ", i)
			}
		}
		change(fmt.Sprint("user", i))
	}
	r := m.shared.recent
	if len(r.young) > maxRecent || len(r.old) > maxRecent || r.floor < 11 {
		t.Error(len(r.young), len(r.old), r.floor)
	}
	keep(m, lookAt(m, "alice"), keptHeader("e1", int(r.floor), "v1", time.Minute, 0))
	if !isFresh(m, "alice") {
		t.Error("everything since is known")
	}
}

func TestAnAnswerAheadOfTheStreamIsFreshOnceTheStreamIsThere(t *testing.T) {
	m := staged(t)
	keep(m, lookAt(m, "alice"), keptHeader("e1", 12, "v1", time.Minute, 0))
	say(t, m.shared, true, `{"n":11,"app":"blog","user":"bob"}`)
	if isFresh(m, "alice") {
		t.Error("the gate of the stream has not heard of 12")
	}
	say(t, m.shared, true, `{"n":12,"app":"blog","user":"bob"}`)
	if !isFresh(m, "alice") {
		t.Error("it has")
	}
}

func TestAChangeOfTheProcessAloneKeepsNoEarlierAnswerOfIt(t *testing.T) {
	m := staged(t)
	say(t, m.shared, true, `{"n":10,"own":1,"app":"blog","user":"alice"}`)
	keep(m, lookAt(m, "alice"), keptHeader("e1", 10, "v1", time.Minute, 0))
	if isFresh(m, "alice") || stands(m, "alice") {
		t.Error("her session ended since")
	}
	other := keptHeader("e1", 10, "v1", time.Minute, 0)
	other.Set("X-Sk-Keep", "e1 10 p2 0 v1 99999999999 0")
	kept := keep(m, lookAt(m, "alice"), other)
	if !isFresh(m, "alice") || kept.freshUntil > now()+30*time.Second {
		t.Error("another process knows nothing of it, for 30 s at most")
	}
}
