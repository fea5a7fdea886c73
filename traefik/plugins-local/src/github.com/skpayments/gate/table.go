package gate

import "time"

// An answer that let a request pass. It is never changed while it is cached.
type answer struct {
	names  []string
	values [][]string
	person *person
	// Up to which change of the log of which epoch it was decided.
	epoch  string
	number int64
	// Until when it is used without calling the gate, while the stream is connected and has reached number; 0: never.
	freshUntil time.Duration
	// Until when it would be fresh without a stream, and the instant from which it is never used (0: none).
	goodUntil  time.Duration
	neverAfter time.Duration
	keptAt     time.Duration
}

// The user of an answer. Setting gone invalidates all answers about the user at once.
type person struct {
	key  string
	gone bool
}

// Cached answers are in two halves. When the young half is full, or after a time, it becomes the old one and the
// previous old one is dropped; an answer that is used moves to the young half. So nothing searches for entries to evict.
type half struct {
	// By the class and the credentials of the request.
	answers map[string]*answer
	people  map[string]*person
	bytes   int
}

// The average size of a cached answer, most of which is the credentials.
const averageBytes = 1024

// The person of all anonymous answers: no change concerns it.
var nobody = &person{}

func newHalf() half {
	return half{answers: map[string]*answer{}, people: map[string]*person{}}
}

// find returns the cached answer for a key, nil if there is none. Here and below shared.mu is locked.
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

// personOf returns the person that all cached answers about a user share.
func personOf(s *shared, appID, user string) *person {
	if user == "" {
		return nobody
	}
	key := keyOf(appID, user)
	known := s.young.people[key]
	if known == nil {
		known = s.old.people[key]
	}
	if known == nil {
		known = &person{key: key}
	}
	return known
}

func keyOf(appID, user string) string {
	return appID + "\x00" + user
}

// forget drops the answers about one user only.
func forget(s *shared, appID, user string) {
	known := personOf(s, appID, user)
	if known == nobody {
		return
	}
	known.gone = true
	delete(s.young.people, known.key)
	delete(s.old.people, known.key)
}
