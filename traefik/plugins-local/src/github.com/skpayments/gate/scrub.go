package gate

import (
	"net/http"
	"regexp"
	"strings"
)

// Some backend reads each of X_SK_Tier, X.SK.Tier, X-SK_Tier … as X-SK-Tier.
var ours = regexp.MustCompile(`(?i)^x[^a-z0-9]*sk[^a-z0-9]`)

// The same as in the generated ForwardAuth routes: our headers, headers that name another path than the gate checks,
// and headers of which Traefik removes one spelling only.
var stripped = regexp.MustCompile(`(?i)^x([^a-z0-9]*sk[^a-z0-9]|[^a-z0-9]*(original|rewrite)[^a-z0-9]*ur[il]|(|[^a-z0-9-][^a-z0-9]*|-[^a-z0-9]+)forwarded[^a-z0-9]|-forwarded([^a-z0-9-]|-[^a-z0-9]|-.*(--|[^a-z0-9-])))`)

// scrub deletes every header that a backend might read as one of ours or of Traefik's, and those that match the app's
// own pattern (nil: none).
func scrub(h http.Header, also *regexp.Regexp) {
	for name := range h {
		// A cheap check that avoids the call for most names: all matches begin with X or x.
		if name >= "X" && stripped.MatchString(name) || also != nil && also.MatchString(name) {
			delete(h, name)
		}
	}
}

// Headers that clients and Traefik commonly send. None of them is ours.
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

// The headers on which no answer depends: the common ones and those learnt from requests, except those with this app's
// credentials. names is replaced, never changed, with shared.mu locked.
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

// learn adds the names of these headers, which have been scrubbed: ServeHTTP can then answer a request with them from
// the cache. The number is limited; a name that is not learnt only takes more time.
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

// notIgnored is the text by which ServeHTTP looks up an answer.
func notIgnored(s *shared, known *ignored, h http.Header) string {
	s.mu.RLock()
	names := known.names
	s.mu.RUnlock()
	var text strings.Builder
	_ = h.WriteSubset(&text, names)
	return text.String()
}

// whoAsks is the text of the headers with credentials, which are the ones sent to the gate.
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
