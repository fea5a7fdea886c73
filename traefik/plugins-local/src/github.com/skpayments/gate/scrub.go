package gate

import (
	"net/http"
	"regexp"
	"strings"
)

// X_SK_Tier, X.SK.Tier, X-SK_Tier … are all X-SK-Tier to some backend.
var ours = regexp.MustCompile(`(?i)^x[^a-z0-9]*sk[^a-z0-9]`)

// In the generated ForwardAuth routes too: what is ours, another path than the gate decides about, and what Traefik
// takes from strangers in one spelling only.
var taken = regexp.MustCompile(`(?i)^x([^a-z0-9]*sk[^a-z0-9]|[^a-z0-9]*(original|rewrite)[^a-z0-9]*ur[il]|(|[^a-z0-9-][^a-z0-9]*|-[^a-z0-9]+)forwarded[^a-z0-9]|-forwarded([^a-z0-9-]|-[^a-z0-9]|-.*(--|[^a-z0-9-])))`)

// scrub deletes every header that a backend might read as one of ours, or as Traefik's, and what else is taken for this
// app (nil: nothing).
func scrub(h http.Header, also *regexp.Regexp) {
	for name := range h {
		// The comparison spares most names the call: it holds for all that begin with X or x.
		if name >= "X" && taken.MatchString(name) || also != nil && also.MatchString(name) {
			delete(h, name)
		}
	}
}

// Headers that clients and Traefik usually send. None of them is ours.
var usual = named(
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers",
	"Access-Control-Request-Method", "Authorization", "Cache-Control", "Cdn-Loop", "Cf-Connecting-Ip", "Cf-Ipcountry",
	"Cf-Ray", "Cf-Visitor", "Connection", "Content-Length", "Content-Type", "Cookie", "Dnt", "If-Match",
	"If-Modified-Since", "If-None-Match", "If-Range", "Origin", "Pragma", "Priority", "Range", "Referer", "Sec-Ch-Ua",
	"Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User",
	"Sec-Gpc", "Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Protocol", "Sec-Websocket-Version", "Te",
	"Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "X-Api-Key", "X-Forwarded-For", "X-Forwarded-Host",
	"X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-Ip", "X-Requested-With",
)

const (
	maxLearnt      = 500
	maxLearntBytes = 64
)

// The headers that no answer depends on: the usual ones, and those that requests were seen to have, without the ones
// that this app's users identify themselves by. names is replaced, never changed, with shared.mu held.
type ignored struct {
	names  map[string]bool
	not    map[string]bool
	learnt int
}

func newIgnored(headers []string, also *regexp.Regexp) *ignored {
	made := &ignored{names: map[string]bool{}, not: named(headers...)}
	for name := range usual {
		if !made.not[name] && (also == nil || !also.MatchString(name)) {
			made.names[name] = true
		}
	}
	return made
}

// learn adds the names of these headers, which have been scrubbed: the next request with them is served by ServeHTTP
// alone. Only so many are learnt; to miss one costs time, no more.
func learn(s *shared, known *ignored, h http.Header) {
	s.mu.RLock()
	names := known.names
	s.mu.RUnlock()
	unknown := []string{}
	for name := range h {
		if !names[name] && !known.not[name] && len(name) <= maxLearntBytes {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known.learnt+len(unknown) > maxLearnt {
		return
	}
	more := named(unknown...)
	for name := range known.names {
		more[name] = true
	}
	known.names = more
	known.learnt += len(unknown)
}

// notIgnored is the text by which ServeHTTP looks for an answer.
func notIgnored(s *shared, known *ignored, h http.Header) string {
	s.mu.RLock()
	names := known.names
	s.mu.RUnlock()
	var text strings.Builder
	_ = h.WriteSubset(&text, names)
	return text.String()
}

// whoAsks is the text of the headers that identify somebody: what the gate is asked by, and nothing else.
func whoAsks(headers []string, h http.Header) string {
	identity := http.Header{}
	for _, name := range headers {
		if values := h[name]; values != nil {
			identity[name] = values
		}
	}
	var text strings.Builder
	_ = identity.Write(&text)
	return text.String()
}

func named(names ...string) map[string]bool {
	set := map[string]bool{}
	for _, name := range names {
		set[name] = true
	}
	return set
}
