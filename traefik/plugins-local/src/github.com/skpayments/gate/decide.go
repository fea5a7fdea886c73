package gate

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// The status for a request that its client cancelled, as Traefik uses it; no client reads it.
	clientGone   = 499
	longestFresh = time.Minute
	// What only one gate knows is not in the stream of another. So an answer of another gate than the stream's is fresh
	// for as long as a gate itself relies on such knowledge.
	longestForeign = 30 * time.Second
)

// What is known about a request before the gate is called.
type look struct {
	// The cache key of its answer and the rules it depends on; "": not cached. And its key in the previous generation.
	key     string
	before  string
	version string
	kept    *answer
	fresh   bool
	// Whether to call the gate, and whether this is the one probe of a gate that is down.
	mayAsk bool
	probe  bool
	at     time.Duration
}

// decide lets a request pass or refuses it, by a cached answer or by calling the gate.
func decide(m *Middleware, w http.ResponseWriter, r *http.Request) {
	if r.Trailer != nil {
		scrub(r.Trailer, m.strip)
	}
	who := whoAsks(m.headers, r.Header)
	if who != notIgnored(m.shared, m.ignored, r.Header) {
		scrub(r.Header, m.strip)
		learn(m.shared, m.ignored, r.Header)
	}
	seen := lookUp(m, r, who)
	if seen.fresh {
		pass(m, w, r, seen.kept)
		return
	}
	if !seen.mayAsk {
		failed(m, w, r, seen, nil)
		return
	}
	said, err := ask(m.shared, m.question, r)
	if r.Context().Err() != nil {
		settle(m.shared, seen, true, false)
		w.WriteHeader(clientGone)
		return
	}
	settle(m.shared, seen, false, err != nil)
	switch {
	case err != nil:
		failed(m, w, r, seen, nil)
	case said.status >= http.StatusInternalServerError:
		failed(m, w, r, seen, said)
	case said.status == http.StatusOK:
		pass(m, w, r, keep(m, seen, said.header))
	default:
		forgetAnswer(m.shared, seen)
		refuse(w, r, said)
	}
}

// lookUp computes the class of a request without the lock, since that takes long with many rules.
func lookUp(m *Middleware, r *http.Request, who string) look {
	s := m.shared
	path := pathOf(r.RequestURI)
	s.mu.RLock()
	version := s.version
	rules := m.app.rules
	unknown := m.app.unknown
	s.mu.RUnlock()
	class := ""
	if !unknown {
		class = classOf(m.app.id, rules, r.Method, path, r.Host)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := look{version: version, at: now()}
	if class != "" && version == s.version {
		current := ofGeneration(s.generation, class)
		remember(m.app, r.Method+path+" "+r.Host, current)
		seen.key = current + who
		seen.before = ofGeneration(s.generation-1, class) + who
		seen.kept = find(s, seen.key)
		seen.fresh = seen.kept != nil && seen.kept.freshUntil > seen.at && s.liveUntil > seen.at && seen.kept.number <= s.number
		if seen.kept == nil {
			seen.kept = find(s, seen.before)
		}
	}
	// While the gate is down, requests with a cached answer do not wait for another failed call.
	if !seen.fresh && !(s.down && usable(m, seen.kept, seen.at)) {
		seen.probe = s.down && !s.probing
		seen.mayAsk = !s.down || seen.probe
		s.probing = s.probing || seen.probe
	}
	return seen
}

// usable reports whether a cached answer may be used while the gate does not answer.
func usable(m *Middleware, kept *answer, at time.Duration) bool {
	if kept == nil || kept.person.gone || kept.neverAfter != 0 && kept.neverAfter <= at {
		return false
	}
	since := m.shared.aliveAt
	if kept.goodUntil < since {
		since = kept.goodUntil
	}
	return at < since+m.staleFor
}

// settle records that a call has ended.
func settle(s *shared, seen look, givenUp, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen.probe {
		s.probing = false
	}
	if !givenUp {
		asked(s, failed)
	}
}

func forgetAnswer(s *shared, seen look) {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop(s, seen.key)
	drop(s, seen.before)
}

// keep makes an answer from the gate's 200, and caches it where that is safe.
func keep(m *Middleware, seen look, header http.Header) *answer {
	made := &answer{}
	for name, values := range header {
		if name != keepHeader && ours.MatchString(name) {
			made.names = append(made.names, name)
			made.values = append(made.values, values)
		}
	}
	if seen.key == "" {
		return made
	}
	s := m.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	// An answer that must not be cached, or that other rules gave, removes the cached one.
	said := strings.Split(header.Get(keepHeader), " ")
	if len(said) != 7 || said[4] != seen.version || said[4] != s.version {
		drop(s, seen.key)
		drop(s, seen.before)
		return made
	}
	made.epoch = said[0]
	made.number = number(said[1])
	made.keptAt = now()
	made.goodUntil = at(number(said[5]))
	foreign := said[2] != s.process
	longest := longestFresh
	if foreign {
		longest = longestForeign
	}
	if made.goodUntil > made.keptAt+longest {
		made.goodUntil = made.keptAt + longest
	}
	if until := number(said[6]); until != 0 {
		made.neverAfter = at(until)
		if made.goodUntil > made.neverAfter {
			made.goodUntil = made.neverAfter
		}
	}
	made.person = personOf(s, m.app.id, header.Get("X-Sk-User"))
	if made.epoch != s.epoch {
		store(s, seen, made)
	} else if !overtaken(s, made) && (foreign || number(said[3]) >= s.own) {
		// With a higher number it becomes fresh when the stream has announced everything up to there.
		if s.liveUntil > made.keptAt {
			made.freshUntil = made.goodUntil
		}
		store(s, seen, made)
	}
	return made
}

// store caches an answer, unless the cached one was decided later.
func store(s *shared, seen look, made *answer) {
	kept := find(s, seen.key)
	later := kept == nil
	if !later && made.epoch == kept.epoch {
		later = made.number >= kept.number
	} else if !later {
		later = seen.at >= kept.keptAt
	}
	if later {
		drop(s, seen.before)
		put(s, seen.key, made)
	}
}

// number is -1 for an invalid value: an instant in the past, and less than the number of any change.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
