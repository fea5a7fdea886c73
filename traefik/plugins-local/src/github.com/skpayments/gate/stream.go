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

// One line of the gate's stream of changes. The first one has an epoch, which differs after each start of the gate; one
// with All invalidates everything; one with a user is a change; all others are heartbeats.
type line struct {
	Epoch   string           `json:"epoch"`
	Number  int64            `json:"n"`
	App     string           `json:"app"`
	User    string           `json:"user"`
	All     bool             `json:"all"`
	Rules   map[string]rules `json:"rules"`
	Version string           `json:"version"`
}

// follow keeps a stream open while any instance uses this gate.
func follow(s *shared) {
	for inUse(s) {
		listen(s)
		time.Sleep(retryAfter)
	}
}

// listen reads one stream until it ends, its heartbeats stop, or a line is invalid.
func listen(s *shared) {
	defer lost(s)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watchdog := time.AfterFunc(deadline, cancel)
	defer watchdog.Stop()
	question, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address+"/gate/changes", nil)
	if err != nil {
		return
	}
	question.Header.Set("X-SK-Gate", s.secret)
	response, err := s.transport.RoundTrip(question)
	if err != nil {
		return
	}
	defer response.Body.Close()
	reached(s)
	if response.StatusCode != http.StatusOK {
		return
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 4096), maxLineBytes)
	begun := false
	for lines.Scan() && hear(s, lines.Bytes(), begun) && inUse(s) {
		begun = true
		watchdog.Reset(heartbeats)
	}
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
		log.Printf("the stream of the gate at %s: %v", s.address, problem)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.liveUntil > 0 {
		log.Printf("the stream of the gate at %s is lost: asking for each request", s.address)
	}
	s.liveUntil = 0
	s.heardAt = 0
}

// hear processes one line; false if it is invalid, and then no later line can be trusted.
func hear(s *shared, text []byte, begun bool) bool {
	var l line
	if json.Unmarshal(text, &l) != nil || begun == (l.Epoch != "") {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case l.All:
		renew(s, &l)
	case l.Epoch != "":
		begin(s, &l)
	case l.User != "":
		if l.Number != s.number+1 {
			age(s)
		}
		forget(s, l.App, l.User)
	case l.Number != s.number:
		age(s) // a change was missed
	}
	s.number = l.Number
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
	missed := l.Epoch != s.epoch || l.Number != s.number
	s.epoch = l.Epoch
	if l.Version != s.version {
		renew(s, l)
	} else if missed {
		age(s)
	}
}

// age makes all cached answers stale: they are used only where calling the gate fails.
func age(s *shared) {
	s.generation++
	for _, known := range s.apps {
		known.classes = map[string]string{}
	}
}

// renew drops everything and installs these rules.
func renew(s *shared, l *line) {
	forgetAll(s)
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
