// Package gate is a Traefik middleware that lets a request pass only if SKPayments' gate allows it.
//
// It calls the gate as ForwardAuth does, but caches answers and follows the gate's stream of changes to invalidate
// them: most requests need no call at all.
//
// Traefik interprets this code (Yaegi). A statement takes about twenty times as long as compiled, a call of an
// interpreted method as long as thirty statements, and every expression of a function takes a little in each call,
// executed or not. So the code for every request is one short function, ServeHTTP, that leaves the work to the standard
// library, and nearly all other code is functions rather than methods.
package gate

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Middleware is one instance for one app. Its state is in shared, which all instances for the same gate use.
type Middleware struct {
	next     http.Handler
	shared   *shared
	app      *app
	question *question
	ignored  *ignored
	// The header names that are removed from requests for this app; nil for none.
	strip *regexp.Regexp
	// The headers with the app's credentials.
	headers []string
	// For how long cached answers are used while the gate is down.
	staleFor time.Duration
	// shared.mu for reading: a call through the interface takes half the time.
	reading sync.Locker
}

// ServeHTTP tags a request whose answer is cached, and passes every other one to decide.
//
// The key is the text of all headers but the ignored ones. No answer is cached under a text with an unknown header or
// one of ours, so a request that passes here needs no scrubbing.
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
	good := kept != nil && kept.freshUntil > now && s.liveUntil > now && kept.number <= s.number && !kept.person.gone &&
		r.Trailer == nil
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
