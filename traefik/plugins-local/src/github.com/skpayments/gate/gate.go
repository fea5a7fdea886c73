// Package gate is a Traefik middleware that lets a request through only after SKPayments' gate has said so.
//
// It asks the gate as ForwardAuth would, but follows the gate's stream of changes and so knows for how long an answer
// still holds: most requests cost no question at all.
//
// Traefik interprets this code (Yaegi). A statement costs some twenty times what it does compiled, a call of an
// interpreted method as much as thirty statements, and every expression of a function costs a little in each call of
// it, run or not. So what runs for every request is one short function, ServeHTTP, that leaves the work to the standard
// library, and nearly all else is functions rather than methods.
package gate

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Middleware is one use of the gate for one app. What it learns is in shared, together with all others of that gate.
type Middleware struct {
	next     http.Handler
	shared   *shared
	app      *app
	question *question
	ignored  *ignored
	// The names that are taken from visitors of this app alone; nil for none.
	taken *regexp.Regexp
	// The headers in which the app's users may identify themselves.
	headers []string
	// For how long an answer stands in for a gate that is gone.
	staleFor time.Duration
	// shared.mu for reading: as an interface it costs half of what its methods do.
	reading sync.Locker
}

// ServeHTTP tags a request whose answer is kept, and hands every other one to decide.
//
// Who is asking is the text of all headers but the ignored ones. No answer is kept under a text with a header that is
// unknown, let alone ours; so what passes here needs no scrubbing.
func (m *Middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := r.Header
	path := r.RequestURI
	if r.URL.RawQuery != "" {
		path = pathOf(path)
	}
	now := time.Since(origin)
	s := m.shared
	var who strings.Builder
	m.reading.Lock()
	_ = h.WriteSubset(&who, m.ignored.names)
	kept := s.young.answers[m.app.classes[r.Method+path+" "+r.Host]+who.String()]
	good := kept != nil && kept.freshUntil > now && s.liveUntil > now && !kept.person.gone && r.Trailer == nil
	m.reading.Unlock()
	if !good {
		decide(m, w, r)
		return
	}
	for i, name := range kept.names {
		h[name] = kept.values[i]
	}
	m.next.ServeHTTP(w, r)
}

func pathOf(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	return path
}
