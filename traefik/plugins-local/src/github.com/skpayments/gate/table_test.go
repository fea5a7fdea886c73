package gate

import (
	"fmt"
	"testing"
	"time"
)

func emptyShared(maxEntries int) *shared {
	s := &shared{maxEntries: maxEntries, apps: map[string]*app{}, ignored: map[string]*ignored{}}
	forgetAll(s)
	return s
}

func keepFor(s *shared, key, user string) {
	kept := &answer{person: personOf(s, "blog", user), freshUntil: now() + time.Minute}
	put(s, key, kept)
}

func TestAChangeDropsTheAnswersOfItsUserOnly(t *testing.T) {
	s := emptyShared(100)
	keepFor(s, "a1", "alice")
	turn(s)
	keepFor(s, "a2", "alice")
	keepFor(s, "b", "bob")
	keepFor(s, "nobody", "")
	forget(s, "shop", "alice")
	if find(s, "a1") == nil {
		t.Error("a change in another app dropped hers")
	}
	forget(s, "blog", "alice")
	forget(s, "blog", "")
	if find(s, "a1") != nil || find(s, "a2") != nil {
		t.Error("alice's answers are still there")
	}
	if find(s, "b") == nil || find(s, "nobody") == nil {
		t.Error("others lost theirs")
	}
	keepFor(s, "a1", "alice")
	if find(s, "a1") == nil {
		t.Error("nothing is kept about alice any more")
	}
}

func TestAnAnswerFoundInTheOldHalfBelongsToItsUser(t *testing.T) {
	s := emptyShared(100)
	keepFor(s, "a", "alice")
	for i := 0; i < 5; i++ {
		turn(s)
		if find(s, "a") == nil {
			t.Fatal("used in each turn, and gone")
		}
	}
	forget(s, "blog", "alice")
	if find(s, "a") != nil {
		t.Error("dropped, and still found")
	}
}

func TestTheTableIsBoundedAndUsedAnswersStay(t *testing.T) {
	s := emptyShared(1000)
	keepFor(s, "in use", "alice")
	for i := 0; i < 10000; i++ {
		keepFor(s, fmt.Sprint(i), fmt.Sprint("user", i))
		if find(s, "in use") == nil {
			t.Fatalf("gone after %d others", i)
		}
	}
	if count := len(s.young.answers) + len(s.old.answers); count > 1000 {
		t.Errorf("%d answers", count)
	}
	if count := len(s.young.people) + len(s.old.people); count > 1002 {
		t.Errorf("%d people", count)
	}
}

func TestLongCredentialsTakeNoMoreMemory(t *testing.T) {
	s := emptyShared(1000)
	long := make([]byte, 60000)
	total := 0
	for i := 0; i < 200; i++ {
		keepFor(s, fmt.Sprint(i)+string(long), "alice")
	}
	for key := range s.young.answers {
		total += len(key)
	}
	for key := range s.old.answers {
		total += len(key)
	}
	if total > 1000*averageBytes+2*60003 {
		t.Errorf("%d bytes", total)
	}
}
