package gate

import (
	"context"
	"errors"
	"log"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Config is the configuration of the middleware in Traefik's dynamic configuration.
type Config struct {
	// The URLs of the gate's port, such as http://skpayments:8081, of several gates with the same database: the first is
	// used while it answers.
	GateURL []string `json:"gateUrl,omitempty"`
	App     string   `json:"app,omitempty"`
	// Authenticates Traefik to the gate. Default: GATE_SECRET of Traefik's environment.
	Secret string `json:"secret,omitempty"`
	// The headers with this app's credentials.
	Headers []string `json:"headers,omitempty"`
	// A pattern of the header names that are removed from this app's requests, besides ours.
	StripHeaders string `json:"stripHeaders,omitempty"`
	// For how many seconds cached answers are used while the gate is down.
	StaleFor int `json:"staleFor,omitempty"`
	// The maximum number of cached answers.
	MaxEntries int `json:"maxEntries,omitempty"`
}

// CreateConfig returns the default values.
func CreateConfig() *Config {
	return &Config{StaleFor: 60, MaxEntries: 100000}
}

// New makes one instance. It never fails: Traefik drops a router whose middleware fails, and the request would fall
// through to the next match. A misconfigured instance refuses every request instead.
func New(ctx context.Context, next http.Handler, c *Config, name string) (http.Handler, error) {
	given := *c
	given.GateURL = []string{}
	for _, address := range c.GateURL {
		given.GateURL = append(given.GateURL, strings.TrimRight(address, "/"))
	}
	if given.Secret == "" {
		given.Secret = os.Getenv("GATE_SECRET")
	}
	if err := problem(&given); err != nil {
		log.Printf("%s: %v: every request is refused", name, err)
		return http.HandlerFunc(refuseAll), nil
	}
	headers := headersOf(given.Headers)
	m := &Middleware{
		next:     next,
		shared:   join(ctx, &given),
		question: newQuestion(&given, headers),
		headers:  headers,
		staleFor: time.Duration(given.StaleFor) * time.Second,
	}
	m.app = appOf(m.shared, given.App)
	if given.StripHeaders != "" {
		m.strip = regexp.MustCompile(given.StripHeaders)
	}
	m.ignored = ignoredFor(m.shared, headers, given.StripHeaders, m.strip)
	m.reading = m.shared.mu.RLocker()
	return m, nil
}

func refuseAll(w http.ResponseWriter, r *http.Request) {
	refuse(w, r, gone())
}

func problem(c *Config) error {
	for _, text := range c.GateURL {
		address, err := url.Parse(text)
		if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" || address.Path != "" {
			return errors.New("gateUrl: expected URLs such as http://skpayments:8081")
		}
	}
	switch {
	case len(c.GateURL) == 0:
		return errors.New("gateUrl: expected at least one URL")
	case c.App == "":
		return errors.New("app: expected the id of an app")
	case c.Secret == "":
		return errors.New("secret: GATE_SECRET is empty")
	case c.StaleFor < 0:
		return errors.New("staleFor: expected a number of seconds")
	case !compiles(c.StripHeaders):
		return errors.New("stripHeaders: expected a regular expression")
	case c.MaxEntries < 2:
		return errors.New("maxEntries: expected 2 or more")
	}
	return nil
}

func compiles(pattern string) bool {
	_, err := regexp.Compile(pattern)
	return err == nil
}

// headersOf returns canonical names without duplicates, our own headers and hop-by-hop headers.
func headersOf(names []string) []string {
	headers := []string{}
	seen := named("Host")
	for _, name := range names {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if name != "" && !seen[name] && !hopByHop[name] && !ours.MatchString(name) {
			seen[name] = true
			headers = append(headers, name)
		}
	}
	return headers
}
