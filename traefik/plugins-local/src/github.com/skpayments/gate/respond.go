package gate

import (
	"net/http"
	"strconv"
	"strings"
)

const unavailable = `{"error":"gate_unavailable","message":"the sign-in cannot be verified now; try again in a moment",` +
	`"detail":"Your sign-in cannot be verified now. Try again in a moment."}`

// pass tags a request and forwards it.
func pass(m *Middleware, w http.ResponseWriter, r *http.Request, given *answer) {
	for i, name := range given.names {
		r.Header[name] = given.values[i]
	}
	m.next.ServeHTTP(w, r)
}

// failed answers a request for which calling the gate failed: by a cached answer, else by the gate's response (nil:
// none), else by 503.
func failed(m *Middleware, w http.ResponseWriter, r *http.Request, seen look, said *reply) {
	m.shared.mu.RLock()
	stale := usable(m, seen.kept, now())
	m.shared.mu.RUnlock()
	if stale {
		pass(m, w, r, seen.kept)
		return
	}
	if said == nil {
		said = gone()
	}
	refuse(w, r, said)
}

// gone answers while the gate does not.
func gone() *reply {
	return &reply{status: http.StatusServiceUnavailable, body: []byte(unavailable), header: http.Header{
		"Content-Type":                 {"application/json"},
		"Cache-Control":                {"no-store"},
		"Cloudflare-Cdn-Cache-Control": {"no-store"},
		"Retry-After":                  {"1"},
	}}
}

// refuse sends the gate's response to the client unchanged.
func refuse(w http.ResponseWriter, r *http.Request, said *reply) {
	listed := named()
	for _, value := range said.header["Connection"] {
		for _, name := range strings.Split(value, ",") {
			listed[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	h := w.Header()
	for name, values := range said.header {
		if !hopByHop[name] && !listed[name] && name != keepHeader {
			h[name] = values
		}
	}
	if said.status != http.StatusNoContent && said.status != http.StatusNotModified {
		h["Content-Length"] = []string{strconv.Itoa(len(said.body))}
	}
	w.WriteHeader(said.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(said.body)
	}
}
