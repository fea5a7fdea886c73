package gate

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"net/http"
	"time"
)

const (
	// A heartbeat is sent each second. Without one for this long, changes may have been missed.
	heartbeats   = 3 * time.Second
	retryAfter   = 250 * time.Millisecond
	maxLineBytes = 64 << 20
)

type rules struct {
	Routes []rule `json:"routes"`
}

// One line of the gate's stream of changes. The first one names the process of the gate, and the epoch of the change log
// that Number counts. Own counts the changes that only this process knows. A line with All invalidates everything; one
// with an app is a change of its user ("": of none); all others are heartbeats.
type line struct {
	Process string           `json:"process"`
	Epoch   string           `json:"epoch"`
	Number  int64            `json:"n"`
	Own     int64            `json:"own"`
	App     string           `json:"app"`
	User    string           `json:"user"`
	All     bool             `json:"all"`
	Rules   map[string]rules `json:"rules"`
	Version string           `json:"version"`
}

// follow keeps a stream open while any instance uses this gate: of the address in use, or of the next one that has one.
func follow(s *shared) {
	for inUse(s) {
		first := current(s)
		for n := range s.addresses {
			if listen(s, first, (first+n)%len(s.addresses)) {
				break
			}
		}
		time.Sleep(retryAfter)
	}
}

// listen reads one stream until it ends, its heartbeats stop, or a line is invalid. It reports whether there was one.
func listen(s *shared, first, i int) bool {
	defer lost(s)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watchdog := time.AfterFunc(deadline, cancel)
	defer watchdog.Stop()
	question, err := http.NewRequestWithContext(ctx, http.MethodGet, s.addresses[i]+"/gate/changes", nil)
	if err != nil {
		return false
	}
	question.Header.Set("X-SK-Gate", s.secret)
	response, err := s.transport.RoundTrip(question)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	reached(s)
	if response.StatusCode != http.StatusOK {
		return false
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 4096), maxLineBytes)
	// A variable: with a named result, Yaegi understood no stream but the first one.
	begun := false
	for lines.Scan() && hear(s, lines.Bytes(), begun) && inUse(s) {
		if !begun {
			begun = true
			use(s, first, i)
		}
		watchdog.Reset(heartbeats)
	}
	return begun
}

// reached records that the gate has answered in any way, so it can be called.
func reached(s *shared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		alive(s)
	}
}

// lost records that the stream is gone: the gate is called for every request until one is connected.
func lost(s *shared) {
	if problem := recover(); problem != nil {
		log.Printf("the stream of the gate at %s: %v", list(s), problem)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.liveUntil > 0 {
		log.Printf("the stream of the gate at %s is lost: asking for each request", list(s))
	}
	s.liveUntil = 0
	s.heardAt = 0
}

// hear processes one line; false if it is invalid, and then no later line can be trusted.
func hear(s *shared, text []byte, begun bool) bool {
	var l line
	if json.Unmarshal(text, &l) != nil || begun == (l.Process != "") {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case l.All:
		renew(s, &l)
	case l.Process != "":
		begin(s, &l)
	case l.App != "":
		// Of the log, or of this process alone.
		logged := l.Number == s.number+1 && l.Own == s.own
		if !logged && (l.Number != s.number || l.Own != s.own+1) {
			age(s, l.Number) // a change was missed
		}
		if logged {
			note(s, keyOf(l.App, l.User), l.Number)
		}
		forget(s, l.App, l.User)
	case l.Number != s.number || l.Own != s.own:
		age(s, l.Number)
	}
	s.number = l.Number
	s.own = l.Own
	s.heardAt = now()
	s.liveUntil = s.heardAt + heartbeats
	alive(s)
	if s.heardAt-s.turnedAt > longestFresh+s.staleFor {
		turn(s) // so that unused answers do not stay
	}
	return true
}

// begin processes a stream's first line. Cached answers become fresh again only if nothing changed meanwhile; else they
// are used only where calling the gate fails, and not even there if the rules have changed.
func begin(s *shared, l *line) {
	missed := l.Epoch != s.epoch || l.Process != s.process || l.Number != s.number || l.Own != s.own
	s.epoch = l.Epoch
	s.process = l.Process
	if l.Version != s.version {
		renew(s, l)
	} else if missed {
		age(s, l.Number)
	}
}

// age makes all cached answers stale: they are used only where calling the gate fails. Who changed up to this number of
// the log is unknown.
func age(s *shared, number int64) {
	s.recent = changes{floor: number, top: number}
	s.generation++
	for _, known := range s.apps {
		known.classes = map[string]string{}
	}
}

// renew drops everything and installs these rules.
func renew(s *shared, l *line) {
	forgetAll(s)
	s.recent = changes{floor: l.Number, top: l.Number}
	s.generation++
	s.version = l.Version
	s.rules = l.Rules
	for _, known := range s.apps {
		setRules(known, l.Rules)
	}
}

func setRules(known *app, all map[string]rules) {
	of, there := all[known.id]
	known.rules = of.Routes
	known.unknown = !there
	known.classes = map[string]string{}
}
