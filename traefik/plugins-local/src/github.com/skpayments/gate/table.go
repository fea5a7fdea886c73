package gate

import "time"

// An answer that let somebody through. Nothing in it changes while it is kept.
type answer struct {
	names  []string
	values [][]string
	person *person
	// Which memory of the gate it came from.
	epoch  string
	number int64
	// Until when it needs no asking, as long as the stream lives; 0: it always needs it.
	freshUntil time.Duration
	// Until when it would be fresh by itself, and the instant from which on it is never used (0: none).
	goodUntil  time.Duration
	neverAfter time.Duration
	keptAt     time.Duration
}

// Who an answer is about. All answers about somebody are dropped at once, by being gone.
type person struct {
	key  string
	gone bool
}

// Kept answers are in two halves. A young half that is full, or has had its time, becomes the old one; what was old
// goes, whatever it held; and what is used moves to the young half. So nothing is ever searched for what to throw out.
type half struct {
	// By the class of the request and who asks.
	answers map[string]*answer
	people  map[string]*person
	bytes   int
}

// What a kept answer may take on average, most of which is who asks.
const averageBytes = 1024

// The one person of all answers without a user: no change is ever about them.
var nobody = &person{}

func newHalf() half {
	return half{answers: map[string]*answer{}, people: map[string]*person{}}
}

// find gives the answer kept for a key, nil if there is none. Here and below shared.mu is held.
func find(s *shared, key string) *answer {
	kept := s.young.answers[key]
	if kept != nil && !kept.person.gone {
		return kept
	}
	kept = s.old.answers[key]
	if kept == nil || kept.person.gone {
		return nil
	}
	put(s, key, kept)
	return kept
}

func put(s *shared, key string, kept *answer) {
	if len(s.young.answers) >= s.maxEntries/2 || s.young.bytes >= s.maxEntries/2*averageBytes {
		turn(s)
	}
	s.young.bytes += len(key)
	s.young.answers[key] = kept
	if kept.person != nobody {
		s.young.people[kept.person.key] = kept.person
	}
}

func drop(s *shared, key string) {
	delete(s.young.answers, key)
	delete(s.old.answers, key)
}

func turn(s *shared) {
	s.old = s.young
	s.young = newHalf()
	s.turnedAt = now()
}

func forgetAll(s *shared) {
	s.old = newHalf()
	s.young = newHalf()
}

// personOf gives the one person whom all kept answers about a user share.
func personOf(s *shared, appID, user string) *person {
	if user == "" {
		return nobody
	}
	key := appID + "\x00" + user
	known := s.young.people[key]
	if known == nil {
		known = s.old.people[key]
	}
	if known == nil {
		known = &person{key: key}
	}
	return known
}

// forget drops every answer about one user, and no other.
func forget(s *shared, appID, user string) {
	known := personOf(s, appID, user)
	if known == nobody {
		return
	}
	known.gone = true
	delete(s.young.people, known.key)
	delete(s.old.people, known.key)
}
